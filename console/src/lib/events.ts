/**
 * The stream of records. Each comes once, in the order of the log: the stream is resumed after the
 * last index that was taken, and what is not above it is dropped.
 */

import { Problem, raw } from "./api";

export interface LogRecord {
	index: number;
	kind: string;
	time: number;
	exec: string | null;
	record: { [member: string]: unknown };
}

export interface Follower {
	stop(): void;
}

export interface Listener {
	/** Records that came together, in order. */
	records(batch: LogRecord[]): void;
	/** `live` while it listens; `offline` while it tries again; `refused` when that has no use. */
	state(state: "live" | "offline" | "refused", problem?: Problem): void;
}

/** Takes a stream of bytes apart into events (WHATWG HTML, server-sent events). */
export class Parser {
	private rest = "";
	private readonly decoder = new TextDecoder();

	/** The `data` of the events that are whole with this piece. */
	push(piece: Uint8Array): string[] {
		this.rest += this.decoder.decode(piece, { stream: true });
		const blocks = this.rest.split("\n\n");
		this.rest = blocks.pop() ?? "";
		return blocks.flatMap((block) => {
			const lines = block.split("\n").filter((line) => line.startsWith("data:"));
			return lines.length > 0 ? [lines.map((line) => line.slice(5).trimStart()).join("\n")] : [];
		});
	}
}

/** How far one look goes back, in records; and how long it may take. */
export const LOOK_BACK = 20_000;
const LOOK_MS = 20_000;

/** The records from `from` up to `to`, without the latter, that are wanted; fails where nobody tells them. */
export function past(from: number, to: number, wanted: (record: LogRecord) => boolean): Promise<LogRecord[]> {
	return new Promise((resolve, reject) => {
		const found: LogRecord[] = [];
		const over = (end: () => void) => {
			clearTimeout(timer);
			follower.stop();
			end();
		};
		const timer = setTimeout(() => over(() => reject(new Problem(0, "offline", "the node does not answer"))), LOOK_MS);
		const follower = follow(from, {
			records: (batch) => {
				found.push(...batch.filter((record) => record.index < to && wanted(record)));
				if ((batch.at(-1)?.index ?? 0) >= to - 1) over(() => resolve(found));
			},
			state: (_, problem) => {
				if (problem) over(() => reject(problem));
			},
		});
	});
}

const WAIT_MIN = 500;
const WAIT_MAX = 10_000;
/** Refusals in a row before they are believed. */
const REFUSALS = 3;

/** Follows the log from `from` on, through whatever comes between, until it is stopped. */
export function follow(from: number, listener: Listener): Follower {
	const stopped = new AbortController();
	let next = from;
	let wait = WAIT_MIN;
	let refused = 0;

	const take = (data: string[]) => {
		const batch: LogRecord[] = [];
		for (const text of data) {
			const record = JSON.parse(text) as LogRecord;
			if (record.index < next) continue;
			next = record.index + 1;
			batch.push(record);
		}
		if (batch.length > 0) listener.records(batch);
	};

	const once = async () => {
		const headers: Record<string, string> = next > 0 ? { "last-event-id": String(next - 1) } : {};
		const path = next > 0 ? "/v1/events" : "/v1/events?from=0";
		const response = await raw("GET", path, headers, stopped.signal);
		const reader = response.body?.getReader();
		if (!reader) return;
		listener.state("live");
		wait = WAIT_MIN;
		refused = 0;
		const parser = new Parser();
		for (;;) {
			const { done, value } = await reader.read();
			if (done) return;
			take(parser.push(value));
		}
	};

	const run = async () => {
		while (!stopped.signal.aborted) {
			try {
				await once();
			} catch (error) {
				if (stopped.signal.aborted) return;
				const denied = error instanceof Problem && [401, 403].includes(error.status);
				// A node that has just begun takes no proof from before; only who stays refused is.
				refused = denied ? refused + 1 : 0;
				if (denied && refused >= REFUSALS) {
					listener.state("refused", error);
					return;
				}
			}
			if (stopped.signal.aborted) return;
			listener.state("offline");
			await new Promise((resolve) => setTimeout(resolve, wait));
			wait = Math.min(wait * 2, WAIT_MAX);
		}
	};
	void run();
	return { stop: () => stopped.abort() };
}
