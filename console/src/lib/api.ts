/** The public API, as its document describes it, and nothing beside it. */

import type { components } from "../api.gen";
import { type Key, ownKey, proof } from "./key";

type Schemas = components["schemas"];
export type Session = Schemas["Session"];
export type Approval = Schemas["Approval"];
export type Approvals = Schemas["Approvals"];
export type Status = Schemas["Status"];
export type Decision = Schemas["Decision"];
export type Execution = Schemas["Execution"];
export type Principals = Schemas["Principals"];
export type PolicySource = Schemas["PolicySource"];
export type Page = Schemas["Executions"];
export type Node = Page["items"][number];
export type Shapes = Schemas["LineageShape"];
export type Difference = Schemas["Difference"];
export type DemoScene = Schemas["DemoScenes"]["items"][number];
export type DemoPlayed = Schemas["DemoPlayed"];
export type PolicyTests = Schemas["PolicyTests"];
export type Coverage = Schemas["PolicyCoverage"];
export type Activations = Schemas["Activations"];
export type Supposed = Schemas["Supposed"];
export type LogChecks = Schemas["LogChecks"];
export type PolicyNodes = Schemas["PolicyNodes"];
export type Shadow = Schemas["Shadow"]["shadow"];
export type ProblemBody = Schemas["Problem"];

/** What was not done, and why: the problem of the answer, or that there was no answer. */
export class Problem extends Error {
	constructor(
		readonly status: number,
		readonly code: string,
		detail: string,
		readonly remedy: string | null = null,
	) {
		super(detail);
	}

	/** Nobody answered. */
	get offline(): boolean {
		return this.status === 0;
	}
}

let key: Promise<Key> | null = null;
/** Whether requests are proven. The public proves nothing. */
let proven = false;
/** How far the node's clock is ahead of this one, in milliseconds. */
let ahead = 0;

export const nodeNow = (): number => Date.now() + ahead;

export function browserKey(): Promise<Key> {
	key ??= ownKey();
	return key;
}

async function send(
	method: string,
	path: string,
	body?: object,
	headers: Record<string, string> = {},
	signal?: AbortSignal,
	withProof = proven,
) {
	const address = new URL(path, location.origin);
	const all: Record<string, string> = { ...headers };
	if (withProof) all["dpop"] = await proof(await browserKey(), method, address, nodeNow());
	const init: RequestInit = { method, headers: all, credentials: "omit", cache: "no-store" };
	if (signal) init.signal = signal;
	if (body) {
		all["content-type"] = "application/json";
		init.body = JSON.stringify(body);
	}
	try {
		return await fetch(address, init);
	} catch (error) {
		if (signal?.aborted) throw error;
		throw new Problem(0, "offline", "the node does not answer");
	}
}

async function problem(response: Response): Promise<Problem> {
	try {
		const { code, detail, remedy } = (await response.json()) as ProblemBody;
		return new Problem(response.status, code, detail, remedy ?? null);
	} catch {
		return new Problem(response.status, "unknown", `the node answered with status ${response.status}`);
	}
}

/** A response that is good; a stream or a text is the caller's to read. */
export async function raw(method: string, path: string, headers: Record<string, string> = {}, signal?: AbortSignal) {
	const response = await send(method, path, undefined, headers, signal);
	if (!response.ok) throw await problem(response);
	return response;
}

async function json<T>(method: string, path: string, body?: object, headers?: Record<string, string>): Promise<T> {
	const response = await send(method, path, body, headers);
	if (!response.ok) throw await problem(response);
	return (await response.json()) as T;
}

export const get = <T>(path: string): Promise<T> => json<T>("GET", path);
export const post = <T>(path: string, body: object): Promise<T> => json<T>("POST", path, body);
export const getText = async (path: string): Promise<string> => (await raw("GET", path)).text();

/** Path with those query parameters that say something. */
export function query(path: string, parameters: Record<string, string | number | null | undefined>): string {
	const search = new URLSearchParams();
	for (const [name, value] of Object.entries(parameters)) {
		if (value !== null && value !== undefined && value !== "") search.set(name, String(value));
	}
	const text = search.toString();
	return text ? `${path}?${text}` : path;
}

function settle(session: Session): Session {
	ahead = session.now - Date.now();
	return session;
}

/** Who this browser is: by its key if that stands for anybody, else the public. */
export async function whoami(again = true): Promise<Session> {
	proven = false;
	const open = settle(await get<Session>("/v1/session"));
	proven = true;
	try {
		return settle(await get<Session>("/v1/session"));
	} catch (error) {
		if (!(error instanceof Problem) || error.status !== 401) throw error;
		proven = false;
		// A node that has just begun takes no proof from the second before.
		if (again && error.code === "expired") {
			await new Promise((resolve) => setTimeout(resolve, 1200));
			return whoami(false);
		}
		return open;
	}
}

/** Redeems the token of a link, for a key that is new where the old one stands for nobody. */
export async function signIn(token: string): Promise<Session> {
	proven = false;
	settle(await get<Session>("/v1/session"));
	proven = true;
	try {
		return settle(await json<Session>("POST", "/v1/session", {}, { "placet-link": token }));
	} catch (error) {
		proven = false;
		throw error;
	}
}

/** Where to sign in by an identity provider; the node says so for this browser's key alone. */
export async function toProvider(issuer: string): Promise<string> {
	proven = true;
	try {
		return (await post<{ url: string }>("/v1/session/provider", { issuer })).url;
	} finally {
		proven = false;
	}
}

/** What an identity provider sends a browser back with. */
export interface Came {
	code: string;
	state: string;
	iss?: string;
}

/** Signs in by what the provider answered, for the key that began it. */
export async function signInBy(came: Came): Promise<Session> {
	proven = false;
	settle(await get<Session>("/v1/session"));
	proven = true;
	try {
		return settle(await post<Session>("/v1/session/code", came));
	} catch (error) {
		proven = false;
		throw error;
	}
}

/** Who this browser's key stands for by now; `null` while that is nobody. What else is asked goes on as it did. */
export async function recheck(): Promise<Session | null> {
	const response = await send("GET", "/v1/session", undefined, {}, undefined, true);
	if (response.status === 401) return null;
	if (!response.ok) throw await problem(response);
	proven = true;
	return settle((await response.json()) as Session);
}

/** Signs out here. What comes back is where to sign out at the identity provider, too. */
export async function signOut(): Promise<string | null> {
	const { url } = await post<Schemas["EndedSession"]>("/v1/session/end", {});
	proven = false;
	return url;
}
