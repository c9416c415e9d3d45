/** The claims of an artifact: their shapes and rules, as spec/artifact.md has them. */

import { fromBase64Url, refuse, utf8 } from "./bytes";
import { isObject, type Json, type JsonObject, members, str } from "./json";

export interface Claims extends JsonObject {
	aud: string;
	env: string;
	exec: string;
	exp: number;
	iat: number;
	intent: string;
	iss: string;
	jti: string;
	nbf: number;
	params: string;
	sub: string;
	txn: string;
}

const CLAIMS = [
	"act?",
	"aud",
	"authorization_details",
	"cnf",
	"env",
	"exec",
	"exp",
	"iat",
	"intent",
	"iss",
	"jti",
	"lease",
	"nbf",
	"params",
	"parent?",
	"policy",
	"profile",
	"rerouted?",
	"sub",
	"txn",
	"uses",
];
const SCOPE = [
	"credentials?",
	"egress?",
	"env",
	"exec",
	"exec_check?",
	"exec_digests?",
	"exec_in_writable",
	"limits",
	"network",
	"pinned?",
	"read",
	"redact?",
	"sockets?",
	"tier?",
	"trips?",
	"write",
	"writes?",
];
const LIMITS = [
	"cpu_secs",
	"file_size_bytes",
	"memory_bytes",
	"open_files",
	"processes",
	"tmp_bytes",
	"tree_cpu_percent?",
	"tree_memory_bytes?",
	"wall_secs",
];
/** What a scope and a signal can name as a limit of conduct. */
export const TRIPS = [
	"cpu_total_secs",
	"execs_per_minute",
	"network_bytes",
	"programs",
	"refused_connects",
	"refused_execs",
	"refused_reads",
	"refused_writes",
	"signals",
];
const ACTORS_MAX = 8;

export const GRAMMAR = {
	action: /^[a-z0-9_-]{1,32}:[a-z0-9_-]{1,64}$/,
	digest: /^sha256:[0-9a-f]{64}$/,
	domain: /^(?!\/)(?!.*\/\/)(?!.*\/$)[A-Za-z0-9.\-_/]{1,128}$/,
	file: /^(?:(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]{1,64}(?:\/(?!$)|$)){1,4}$/,
	exec: /^exec_[0-9a-f]{32}$/,
	jti: /^art_[0-9a-f]{32}$/,
	kind: /^[A-Za-z0-9_:]{1,64}$/,
	place: /^[a-z0-9][a-z0-9._-]{0,63}$/,
	principal: /^[a-z]{1,32}:[A-Za-z0-9._@/-]{1,96}$/,
	secret: /^[a-z0-9][a-z0-9._-]{0,63}$/,
	variable: /^(?!LD_|PLACET_)(?!(?:BASH_ENV|ENV|HOME|IFS|PATH)$)[A-Za-z_][A-Za-z0-9_]{0,127}$/,
	word: /^[a-z0-9_-]{1,64}$/,
};

export function named(value: Json | undefined, grammar: keyof typeof GRAMMAR, what: string): string {
	const found = str(value, what);
	return GRAMMAR[grammar].test(found) ? found : refuse(`${what}: out of its grammar`);
}

export function count(value: Json | undefined, what: string): number {
	const good = typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
	return good ? value : refuse(`${what}: a whole number is expected`);
}

/** 32 bytes in base64url. */
export function thirtyTwo(value: Json | undefined, what: string): string {
	const found = str(value, what);
	return fromBase64Url(found)?.length === 32 ? found : refuse(`${what}: 32 bytes in base64url are expected`);
}

export function list(value: Json | undefined, what: string): Json[] {
	return Array.isArray(value) ? value : refuse(`${what}: a list is expected`);
}

/** By bytes of UTF-8, as Rust orders texts. */
function before(a: string, b: string): boolean {
	const [left, right] = [utf8(a), utf8(b)];
	for (let at = 0; at < Math.min(left.length, right.length); at += 1) {
		if (left[at] !== right[at]) return (left[at] ?? 0) < (right[at] ?? 0);
	}
	return left.length < right.length;
}

/** Texts in order, none twice. */
export function set(value: Json | undefined, what: string, item: (text: Json) => string): string[] {
	const items = list(value, what).map(item);
	const ordered = items.every((text, at) => at === 0 || before(items[at - 1] ?? "", text));
	return ordered ? items : refuse(`${what}: not in order, or one is there twice`);
}

function path(value: Json | undefined, what: string): string {
	const found = str(value, what);
	const parts = found.split("/").slice(1);
	const normal = found === "/" || (found.startsWith("/") && parts.every((part) => !["", ".", ".."].includes(part)));
	const good = normal && utf8(found).length <= 4096 && !found.includes("\0");
	return good ? found : refuse(`${what}: not an absolute path in normal form`);
}

const within = (inner: string, outer: string) => inner === outer || outer === "/" || inner.startsWith(`${outer}/`);

function paths(value: Json | undefined, what: string): string[] {
	const all = set(value, what, (item) => path(item, what));
	const below = all.some((one) => all.some((other) => one !== other && within(one, other)));
	return below ? refuse(`${what}: a root below another root`) : all;
}

function present(object: JsonObject, name: string, isDefault: (value: Json) => boolean, what: string): void {
	if (Object.hasOwn(object, name) && isDefault(object[name] as Json)) refuse(`${what}: \`${name}\` says nothing`);
}

const isEmpty = (value: Json): boolean =>
	Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0;

function checkScope(value: Json | undefined): void {
	const scope = members(value, SCOPE, "scope");
	set(scope.env, "scope.env", (item) => str(item, "scope.env"));
	paths(scope.exec, "scope.exec");
	if (typeof scope.exec_in_writable !== "boolean") refuse("scope.exec_in_writable: true or false");
	const limits = members(scope.limits, LIMITS, "scope.limits");
	for (const name of Object.keys(limits)) count(limits[name], `scope.limits.${name}`);
	const [read, write] = [paths(scope.read, "scope.read"), paths(scope.write, "scope.write")];
	if (!write.every((tree) => read.some((root) => within(tree, root)))) refuse("a write tree may not be read");
	for (const name of ["credentials", "pinned", "redact", "sockets", "trips"]) present(scope, name, isEmpty, "scope");
	for (const name of ["pinned", "sockets"]) {
		if (scope[name] !== undefined) set(scope[name], `scope.${name}`, (item) => path(item, `scope.${name}`));
	}
	if (scope.exec_digests !== undefined) {
		set(scope.exec_digests, "scope.exec_digests", (item) => named(item, "digest", "scope.exec_digests"));
	}
	if (scope.redact !== undefined) set(scope.redact, "scope.redact", redaction);
	word(scope, "egress", ["decide"]);
	word(scope, "exec_check", ["decide"]);
	word(scope, "tier", ["U0", "P"]);
	word(scope, "writes", ["kept", "discarded"]);
	if (scope.network !== "none") {
		const peers = list(members(scope.network, ["peers"], "scope.network").peers, "scope.network.peers");
		if (peers.length === 0) refuse("scope.network.peers: an empty list");
		for (const peer of peers) checkPeer(peer);
	}
	if (scope.trips !== undefined) {
		const trips = members(
			scope.trips,
			TRIPS.map((name) => `${name}?`),
			"scope.trips",
		);
		for (const name of Object.keys(trips)) count(trips[name], `scope.trips.${name}`);
	}
	if (scope.credentials !== undefined) checkCredentials(scope.credentials);
}

const CREDENTIALS_MAX = 32;

/** In order, a variable before a file, and no two of them in one variable or one file. */
function checkCredentials(value: Json): void {
	const what = "scope.credentials";
	const all = list(value, what);
	if (all.length > CREDENTIALS_MAX) refuse(`${what}: more than ${CREDENTIALS_MAX}`);
	const variables = new Set<string>();
	const files: string[] = [];
	let last: string[] = [];
	for (const one of all) {
		const credential = members(one, ["form", "name"], what);
		const name = named(credential.name, "secret", `${what}.name`);
		const form = members(credential.form, ["env?", "file?"], `${what}.form`);
		if (Object.keys(form).length !== 1) refuse(`${what}.form: one of \`env\` and \`file\``);
		const file = form.file === undefined ? null : members(form.file, ["env?", "path"], `${what}.form.file`);
		const env = file ? file.env : form.env;
		const variable = env === undefined ? "" : named(env, "variable", `${what}.form`);
		const path = file ? named(file.path, "file", `${what}.form.file.path`) : "";
		if (variables.has(variable) || files.some((other) => within(path, other) || within(other, path)))
			refuse(`${what}: two in one place`);
		if (variable) variables.add(variable);
		if (file) files.push(path);
		// Nothing sorts before any name, as a file without a variable does before one with.
		const place = [file ? "1" : "0", variable, path, name];
		const differs = place.findIndex((part, at) => part !== last[at]);
		if (last.length > 0 && (differs < 0 || (place[differs] ?? "") < (last[differs] ?? "")))
			refuse(`${what}: not in order`);
		last = place;
	}
}

function redaction(value: Json): string {
	const text = str(value, "scope.redact");
	const rest = text.slice(text.indexOf(":") + 1);
	const known = /^(pattern:[\s\S]|pointer:\/(~[01]|[^~])*$)/.test(text);
	if (!known || new TextEncoder().encode(rest).length > 512) refuse("scope.redact: the spelling is not known");
	return text;
}

function word(scope: JsonObject, name: string, words: string[]): void {
	const value = scope[name];
	if (value !== undefined && !words.includes(str(value, `scope.${name}`))) refuse(`scope.${name}: unknown`);
}

function checkPeer(value: Json): void {
	const peer =
		/^(\[[0-9a-f:.]+\](\/\d{1,3})?|[0-9.]+(\/\d{1,2})?|(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+):(\d{1,5})(-(\d{1,5}))?$/;
	const found = peer.exec(str(value, "scope.network.peers"));
	const [first, last] = [Number(found?.[5]), Number(found?.[7] ?? found?.[5])];
	if (!found || first < 1 || last < first || last > 65535) refuse("scope.network.peers: the spelling is not known");
}

/** The delegation chain: `sub`s of the actors, the current one first. */
export function actors(act: Json | undefined): string[] {
	const found: string[] = [];
	let link = act;
	while (link !== undefined) {
		const actor = members(link, ["act?", "sub"], "act");
		found.push(named(actor.sub, "principal", "act.sub"));
		link = actor.act;
	}
	return found;
}

export function checkClaims(value: Json): Claims {
	const claims = members(value, CLAIMS, "claims");
	const chain = actors(claims.act);
	named(claims.aud, "word", "aud");
	const details = list(claims.authorization_details, "authorization_details");
	if (details.length !== 1) refuse("authorization_details: exactly one");
	const detail = members(details[0], ["action", "resource", "scope", "type"], "authorization_details");
	if (detail.type !== "placet-execution") refuse("authorization_details: an unknown type");
	named(detail.action, "action", "action");
	const resource = members(detail.resource, ["digest?", "id", "kind"], "resource");
	if (resource.digest !== undefined) named(resource.digest, "digest", "resource.digest");
	const id = utf8(str(resource.id, "resource.id")).length;
	if (id < 1 || id > 4096) refuse("resource.id: 1 to 4096 bytes");
	named(resource.kind, "kind", "resource.kind");
	checkScope(detail.scope);
	thirtyTwo(members(claims.cnf, ["jkt"], "cnf").jkt, "cnf.jkt");
	for (const name of ["env", "intent"]) named(claims[name], "digest", name);
	const [exec, txn] = [named(claims.exec, "exec", "exec"), named(claims.txn, "exec", "txn")];
	const [exp, iat, nbf] = [count(claims.exp, "exp"), count(claims.iat, "iat"), count(claims.nbf, "nbf")];
	named(claims.iss, "domain", "iss");
	named(claims.sub, "principal", "sub");
	named(claims.profile, "word", "profile");
	thirtyTwo(claims.params, "params");
	if (named(claims.jti, "jti", "jti") !== exec.replace("exec_", "art_")) refuse("jti: named after another execution");
	if (chain.length > ACTORS_MAX) refuse("act: more than 8 actors");
	const parent = claims.parent === undefined ? null : named(claims.parent, "exec", "parent");
	const fits = parent === null ? txn === exec : txn !== exec && parent !== exec;
	if (!fits) refuse("txn: the root does not fit the parent");
	if (nbf >= exp || iat >= exp) refuse("the window is empty");
	const lease = members(claims.lease, ["interval_ms", "staleness_ms"], "lease");
	if (count(lease.interval_ms, "lease") === 0 || count(lease.staleness_ms, "lease") === 0) refuse("lease: empty");
	const policy = members(claims.policy, ["bundle", "determining"], "policy");
	named(policy.bundle, "digest", "policy.bundle");
	const ids = set(policy.determining, "policy.determining", (item) => str(item, "policy.determining"));
	const sizes = ids.map((one) => utf8(one).length);
	if (ids.length < 1 || ids.length > 64 || sizes.some((size) => size < 1 || size > 128)) refuse("policy.determining");
	if (claims.rerouted !== undefined) {
		present(claims, "rerouted", isEmpty, "claims");
		set(claims.rerouted, "rerouted", (item) => named(item, "word", "rerouted"));
	}
	if (count(claims.uses, "uses") !== 1) refuse("uses: an artifact counts once");
	return claims as Claims;
}
