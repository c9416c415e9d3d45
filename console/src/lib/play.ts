/** What a scene of the demo wrote, sorted into the four steps that every execution goes through. */

import type { LogRecord } from "./events";

export const STEPS = ["verify", "authorize", "execute", "prove"] as const;
export type StepName = (typeof STEPS)[number];
export interface Shown {
	name: StepName;
	state: "waits" | "holds" | "fails" | "stopped";
	words: string;
	records: LogRecord[];
}

/** Checks of a decision that are about who asks and from where; the rest is about what is asked. */
const IDENTITY_CHECKS = 6;

interface Decided {
	outcome: string;
	denial?: { check: number; code: string; reason: string };
	policy: { determining: string[] };
	grant?: { profile: string };
	intent: { principal: string };
	facts: { environment: { tier: string } };
}

const of = (records: LogRecord[], ...kinds: string[]) => records.filter((record) => kinds.includes(record.kind));

/** The steps, as far as these records tell. */
export function steps(records: LogRecord[]): Shown[] {
	const found = of(records, "decided");
	const refused = of(records, "refused");
	const [started, ended] = [of(records, "started"), of(records, "ended", "signal", "revoked")];
	const first = found[0]?.record as unknown as Decided | undefined;
	const denial = first?.denial;
	const unknown = denial !== undefined && denial.check <= IDENTITY_CHECKS;
	const step = (name: StepName, state: Shown["state"], words: string, records: LogRecord[] = []): Shown => ({
		name,
		state,
		words,
		records,
	});
	const verify = () => {
		const refusal = refused.at(-1)?.record["denial"] as { code: string; reason: string } | undefined;
		if (refusal) return step("verify", "fails", `refused: ${refusal.code}, ${refusal.reason}`, refused);
		if (!first) return step("verify", "waits", "who asks, for what, from which machine");
		if (unknown) return step("verify", "fails", `${denial.code}: ${denial.reason}`, found);
		return step("verify", "holds", `${first.intent.principal}, on a machine of tier ${first.facts.environment.tier}`);
	};
	const authorize = () => {
		if (!first || unknown) return step("authorize", "waits", "what the policy says of it");
		const by = first.policy.determining.join(", ");
		if (denial) return step("authorize", "fails", `${denial.code}${by ? ` by ${by}` : ""}: nothing runs`, found);
		return step("authorize", "holds", `permitted by ${by}, within the profile ${first.grant?.profile ?? ""}`, found);
	};
	const execute = () => {
		const all = [...started, ...ended].sort((a, b) => a.index - b.index);
		const last = of(ended, "ended").at(-1)?.record as { outcome: string; cause?: string } | undefined;
		if (all.length === 0) return step("execute", "waits", "within what was granted, and nothing else");
		if (!last || of(ended, "ended").length < started.length) return step("execute", "waits", "it runs", all);
		if (last.outcome === "terminated") return step("execute", "stopped", `ended with its tree: ${last.cause}`, all);
		if (last.outcome === "lapsed") return step("execute", "waits", "never started: the permit was given back", all);
		return step("execute", last.outcome === "completed" ? "holds" : "stopped", last.outcome, all);
	};
	return [verify(), authorize(), execute(), step("prove", "waits", "that all of this stands in the log")];
}

/** A bundle with one thing altered, as a forger would have it. */
export const FORGERIES: [string, (bundle: Bundle) => Bundle][] = [
	["a character of the record", (it) => ({ ...it, record: { ...it.record, entry: other(it.record.entry) } })],
	["a character of the artifact", (it) => ({ ...it, artifact: other(it.artifact ?? "") })],
	["the arguments", (it) => ({ ...it, disclosed: { ...it.disclosed, params: '{"argv":["rm","-rf","/"]}' } })],
	["the proof's path", (it) => ({ ...it, record: { ...it.record, proof: other(it.record.proof) } })],
	["the first record", (it) => ({ ...it, genesis: { ...it.genesis, entry: other(it.genesis.entry) } })],
];
interface Bundle {
	artifact?: string;
	disclosed?: object;
	genesis: { entry: string };
	record: { entry: string; proof: string };
}

function other(text: string): string {
	const middle = text.length >> 1;
	return text.slice(0, middle) + (text[middle] === "A" ? "B" : "A") + text.slice(middle + 1);
}
