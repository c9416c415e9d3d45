/** What every view shares: who is signed in, the domain's state, the live tail of the log. */

import {
	type Approvals,
	type Came,
	get,
	Problem,
	recheck,
	type Session,
	type Status,
	signIn,
	signInBy,
	signOut,
	toProvider,
	whoami,
} from "./api";
import { type Follower, follow, type LogRecord } from "./events";
import { moved } from "./router.svelte";

/** Records that are kept of the tail: what is older is in the log. */
export const TAIL_MAX = 500;
/** How often views are told that something changed, at most: a reader follows no faster. */
const TELL_MS = 400;

interface App {
	phase: "starting" | "ready" | "failed";
	session: Session | null;
	status: Status | null;
	/** `refused`: the public, or somebody whose session is over. */
	live: "off" | "live" | "offline" | "refused";
	problem: Problem | null;
	/** Counts up whenever records came that change what runs. */
	changes: number;
	tail: LogRecord[];
	taken: number;
	/** Until when each intent waits that still waits for approvals. */
	waiting: number[];
	/** Came back from signing out at an identity provider. */
	left: boolean;
}

export const app: App = $state({
	phase: "starting",
	session: null,
	status: null,
	live: "off",
	problem: null,
	changes: 0,
	tail: [],
	taken: 0,
	waiting: [],
	left: false,
});

let follower: Follower | null = null;
let waiting: LogRecord[] = [];
let timer: ReturnType<typeof setTimeout> | null = null;

export const isOperator = (): boolean => app.session?.role === "operator";
export const isMember = (): boolean => app.session !== null && app.session.role !== "public";

function tell(): void {
	timer = null;
	const batch = waiting;
	waiting = [];
	app.tail = [...app.tail, ...batch].slice(-TAIL_MAX);
	app.taken += batch.length;
	app.changes += 1;
	void refreshStatus();
	if (batch.some(({ kind, record }) => kind === "approval" || record["outcome"] === "defer" || app.waiting.length > 0))
		void refreshWaiting();
}

function take(batch: LogRecord[]): void {
	waiting.push(...batch);
	// Whatever comes while nobody looks stays as bounded as what is shown.
	if (waiting.length > TAIL_MAX) waiting = waiting.slice(-TAIL_MAX);
	if (timer === null) timer = setTimeout(tell, TELL_MS);
}

export async function refreshStatus(): Promise<void> {
	if (!isMember()) return;
	try {
		app.status = await get<Status>("/v1/policy");
	} catch (error) {
		if (error instanceof Problem && error.status === 401) await leave();
	}
}

/** What waits for approvals: shown wherever somebody is who could say something. */
async function refreshWaiting(): Promise<void> {
	const found = await get<Approvals>("/v1/approvals").catch(() => null);
	if (found) seenWaiting(found);
}
export function seenWaiting({ items }: Approvals): void {
	app.waiting = items.filter(({ said }) => !Object.values(said).includes("reject")).map(({ until }) => until);
}

async function listen(): Promise<void> {
	follower?.stop();
	follower = null;
	app.tail = [];
	app.waiting = [];
	if (!isMember()) {
		app.live = "refused";
		return;
	}
	await Promise.all([refreshStatus(), refreshWaiting()]);
	const from = Math.max(0, (app.status?.size ?? 0) - 100);
	follower = follow(from, {
		records: take,
		state: (state) => {
			app.live = state;
			if (state === "refused") void start();
		},
	});
}

/** Where this browser wanted to be when it left for an identity provider. */
const WANTED = "placet-wanted";

/** Leaves for an identity provider. */
export async function signInAt(issuer: string): Promise<void> {
	const url = await toProvider(issuer);
	sessionStorage.setItem(WANTED, location.hash);
	location.assign(url);
}

/** What an identity provider answered, taken out of the address and the history. */
function cameBack(): Came | null {
	if (!location.pathname.endsWith("/signed-in")) return null;
	const answer = new URLSearchParams(location.search);
	const wanted = sessionStorage.getItem(WANTED) ?? "";
	sessionStorage.removeItem(WANTED);
	history.replaceState(null, "", `./${wanted.startsWith("#/") ? wanted : "#/"}`);
	moved();
	const [code, state, iss] = ["code", "state", "iss"].map((name) => answer.get(name));
	if (code && state) return iss ? { code, state, iss } : { code, state };
	const words = answer.get("error_description") ?? answer.get("error") ?? "it gave no reason";
	throw new Problem(401, "identity_unverified", `The identity provider did not sign you in: ${words.slice(0, 200)}`);
}

/** Finds out who this is, by a link that was opened or by the browser's key. */
export async function start(): Promise<void> {
	const token = /^#link=([A-Za-z0-9_-]{43})$/.exec(location.hash)?.[1];
	// Out of the address bar and the history, whatever becomes of it.
	if (token) history.replaceState(null, "", `${location.pathname}#/`);
	app.problem = null;
	if (location.pathname.endsWith("/signed-out")) {
		app.left = true;
		history.replaceState(null, "", "./#/you");
		moved();
	}
	try {
		const came = cameBack();
		if (came) app.session = await signInBy(came);
		else app.session = token ? await signIn(token) : await whoami();
	} catch (error) {
		if (!(error instanceof Problem)) throw error;
		app.problem = error;
		app.session = error.offline ? null : await whoami().catch(() => null);
	}
	app.phase = app.session ? "ready" : "failed";
	if (app.session) await listen();
}

/** Whether this browser's key counts for more by now; if so, the page goes on as whoever it stands for. */
export async function look(): Promise<void> {
	const before = app.session;
	const session = await recheck().catch(() => null);
	if (!session || !before || JSON.stringify(session.principals) === JSON.stringify(before.principals)) return;
	app.session = session;
	app.problem = null;
	if (before.role === "public") await listen();
}

/** Signs out here, and at the identity provider where that is how this browser signed in. */
export async function leave(): Promise<void> {
	follower?.stop();
	const away = await signOut().catch(() => null);
	app.status = null;
	if (away) location.assign(away);
	else await start();
}
