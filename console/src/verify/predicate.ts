/** What a record says: the shapes of those kinds that a proof rests on, read as strictly as the domain reads them. */

import { claims, codes, weaker } from "../../../spec/vectors/vocabulary.json";
import { fromBase64, fromBase64Url, refuse } from "./bytes";
import { count, list, named, thirtyTwo } from "./claims";
import { isKey } from "./ed25519";
import { isObject, type Json, type JsonObject, members, str } from "./json";

const U32_MAX = 2 ** 32 - 1;

function small(value: Json | undefined, what: string, max = U32_MAX): void {
	if (count(value, what) > max) refuse(`${what}: too large`);
}

function key(value: Json | undefined, what: string): void {
	const bytes = fromBase64(str(value, what));
	if (!bytes || !isKey(bytes)) refuse(`${what}: no Ed25519 key`);
}

function oneOf(value: Json | undefined, words: string[], what: string): void {
	if (!words.includes(str(value, what))) refuse(`${what}: an unknown word`);
}

/** `serde` reads null as absent, and what is absent is not written: so it is not canonical. */
function optional(object: JsonObject, name: string, check: (value: Json, what: string) => void): void {
	if (Object.hasOwn(object, name)) check(object[name] as Json, name);
}

/** A list that is left out where it is empty. */
function some(value: Json, what: string, check: (item: Json, what: string) => void): void {
	const items = list(value, what);
	if (items.length === 0) refuse(`${what}: an empty list`);
	for (const item of items) check(item, what);
}

const texts = (value: Json | undefined, what: string) => {
	for (const item of list(value, what)) str(item, what);
};
const principal = (value: Json | undefined, what: string) => void named(value, "principal", what);
const digest = (value: Json | undefined, what: string) => void named(value, "digest", what);
const exec = (value: Json | undefined, what: string) => void named(value, "exec", what);
const word = (value: Json | undefined, what: string) => void named(value, "word", what);

function genesis(predicate: JsonObject): void {
	members(predicate, ["domain", "keys", "operators", "time"], "the first record");
	named(predicate.domain, "domain", "domain");
	const keys = members(predicate.keys, ["artifact", "log", "record"], "keys");
	for (const role of ["artifact", "log", "record"]) key(keys[role], `the ${role} key`);
	const operators = members(predicate.operators, ["keys", "needed"], "operators");
	for (const one of list(operators.keys, "operators")) key(one, "an operator's key");
	small(operators.needed, "needed");
	count(predicate.time, "time");
}

function intent(value: Json | undefined): void {
	const names = ["action", "asked?", "gateway", "params", "parent?", "principal", "resource"];
	const intent = members(value, names, "the intent");
	named(intent.action, "action", "action");
	optional(intent, "asked", (value) => {
		const asked = members(value, ["exec_check?", "lifetime_secs?", "profile?"], "asked");
		if (Object.keys(asked).length === 0) refuse("asked: says nothing");
		optional(asked, "exec_check", (value) => oneOf(value, ["decide"], "exec_check"));
		optional(asked, "lifetime_secs", (value) => void count(value, "lifetime_secs"));
		optional(asked, "profile", word);
	});
	word(intent.gateway, "gateway");
	thirtyTwo(intent.params, "params");
	optional(intent, "parent", exec);
	principal(intent.principal, "principal");
	const resource = members(intent.resource, ["digest?", "id", "kind"], "resource");
	optional(resource, "digest", digest);
	const length = new TextEncoder().encode(str(resource.id, "resource.id")).length;
	if (length < 1 || length > 4096) refuse("resource.id: 1 to 4096 bytes");
	named(resource.kind, "kind", "resource.kind");
}

/** What proved who asks: one of these. */
function caller(value: Json | undefined): void {
	const caller = members(value, ["execution?", "key?", "spiffe?", "token?", "unix?"], "caller");
	if (Object.keys(caller).length !== 1) refuse("caller: exactly one");
	optional(caller, "execution", exec);
	optional(caller, "key", (value) => void thirtyTwo(value, "key"));
	optional(caller, "spiffe", (value) => void str(value, "spiffe"));
	optional(caller, "unix", (value) => small(value, "unix"));
	optional(caller, "token", (value) => {
		const token = members(value, ["claims?", "issuer", "subject"], "token");
		for (const name of ["issuer", "subject"]) str(token[name], name);
		if (token.claims !== undefined && !isObject(token.claims)) refuse("claims: an object is expected");
	});
}

const ENVIRONMENT = [
	"arch",
	"boot",
	"container?",
	"distribution",
	"gateway",
	"gateway_digest?",
	"kernel",
	"landlock_abi",
	"machine",
	"region?",
	"tier",
	"weaker?",
	"zone?",
];

/** What a gateway signed beside the environment. The signature is for `placet log replay` to check. */
function attestation(value: Json): void {
	const attestation = members(value, ["backing", "issued", "key", "nonce", "signature"], "the attestation");
	if (isObject(attestation.backing)) {
		const { tpm_quote } = members(attestation.backing, ["tpm_quote"], "backing");
		const quote = members(tpm_quote, ["key", "quoted", "signature"], "tpm_quote");
		for (const name of ["key", "quoted", "signature"]) {
			const length = fromBase64Url(str(quote[name], name))?.length ?? 0;
			if (length < 1 || length > 1024) refuse(`${name}: 1 to 1024 bytes in base64url`);
		}
	} else oneOf(attestation.backing, ["self_reported"], "backing");
	count(attestation.issued, "issued");
	key(attestation.key, "the gateway's key");
	if (fromBase64Url(str(attestation.nonce, "nonce"))?.length !== 40) refuse("nonce: 40 bytes in base64url");
	if (fromBase64(str(attestation.signature, "signature"))?.length !== 64) refuse("signature: 64 bytes in base64");
}

const STATUSES = ["none", "contraindicated", "warning", "affirming"];

function appraisal(value: Json): void {
	const names = ["affirming", "age_secs?", "contraindicated", "status", "warning"];
	const appraisal = members(value, names, "the appraisal");
	for (const name of ["affirming", "contraindicated", "warning"]) {
		const found = list(appraisal[name], name).map((item) => str(item, name));
		for (const item of found) oneOf(item, claims, name);
		// A set: in order, none twice.
		if (found.some((item, at) => at > 0 && item <= (found[at - 1] as string))) refuse(`${name}: out of order`);
	}
	optional(appraisal, "age_secs", (value, what) => void count(value, what));
	oneOf(appraisal.status, STATUSES, "status");
}

function facts(value: Json | undefined): void {
	const facts = members(value, ["attestation?", "caller", "environment", "exec", "holder", "time"], "the facts");
	caller(facts.caller);
	optional(facts, "attestation", attestation);
	const environment = members(facts.environment, ENVIRONMENT, "the environment");
	for (const name of ["container", "gateway_digest"]) optional(environment, name, digest);
	for (const name of ["region", "zone"]) optional(environment, name, (value, what) => void named(value, "place", what));
	for (const name of ["arch", "boot", "distribution", "gateway", "kernel"]) str(environment[name], name);
	small(environment.landlock_abi, "landlock_abi");
	digest(environment.machine, "machine");
	oneOf(environment.tier, ["U0", "U1", "P", "none"], "tier");
	optional(environment, "weaker", (value) => some(value, "weaker", (item, what) => oneOf(item, weaker, what)));
	exec(facts.exec, "exec");
	str(facts.holder, "holder");
	count(facts.time, "time");
}

const GRANT = [
	"approved_by?",
	"delegation",
	"depth",
	"lease_ms",
	"not_after",
	"not_before",
	"profile",
	"rerouted?",
	"root",
	"scope",
	"staleness_ms",
];

function grant(value: Json): void {
	const grant = members(value, GRANT, "the grant");
	optional(grant, "approved_by", (value, what) => some(value, what, principal));
	for (const id of list(grant.delegation, "delegation")) principal(id, "delegation");
	small(grant.depth, "depth");
	for (const name of ["lease_ms", "not_after", "not_before", "staleness_ms"]) count(grant[name], name);
	word(grant.profile, "profile");
	optional(grant, "rerouted", (value, what) => some(value, what, word));
	exec(grant.root, "root");
	digest(grant.scope, "scope");
}

function denial(value: Json): void {
	const denial = members(value, ["check", "code", "reason"], "the denial");
	small(denial.check, "check", 255);
	oneOf(denial.code, codes, "code");
	str(denial.reason, "reason");
}

function waits(value: Json): void {
	const waits = members(value, ["needs", "until"], "waits");
	for (const one of list(waits.needs, "needs")) {
		const needed = members(one, ["count", "groups"], "needs");
		small(needed.count, "count");
		texts(needed.groups, "groups");
	}
	count(waits.until, "until");
}

const DECIDED = [
	"appraisal?",
	"artifact?",
	"denial?",
	"facts",
	"grant?",
	"intent",
	"outcome",
	"policy",
	"risk",
	"waits?",
];
/** What stands beside each answer, and nothing else of these. */
const BESIDE: Record<string, string> = { permit: "artifact,grant", deny: "denial", defer: "waits" };

function decided(predicate: JsonObject): void {
	members(predicate, DECIDED, "the decision");
	optional(predicate, "appraisal", appraisal);
	optional(predicate, "artifact", digest);
	optional(predicate, "denial", denial);
	facts(predicate.facts);
	optional(predicate, "grant", grant);
	intent(predicate.intent);
	const outcome = str(predicate.outcome, "outcome");
	const policy = members(predicate.policy, ["bundle?", "determining"], "policy");
	optional(policy, "bundle", digest);
	texts(policy.determining, "determining");
	const risk = members(predicate.risk, ["factors", "score"], "risk");
	texts(risk.factors, "factors");
	small(risk.score, "score");
	optional(predicate, "waits", waits);
	const beside = ["artifact", "denial", "grant", "waits"].filter((name) => predicate[name] !== undefined);
	if (beside.join() !== BESIDE[outcome]) refuse("the decision contradicts itself");
}

const RUN_ENDS = ["completed", "failed", "terminated", "lapsed", "unseen"];

/** What is common to everything about an execution, and how it began and ended. */
function lifecycle(kind: string, predicate: JsonObject): void {
	if (kind === "started") {
		members(predicate, ["credentials?", "exec", "gateway", "intent", "pinned?", "time"], "the start");
		word(predicate.gateway, "gateway");
	}
	if (kind === "ended") {
		members(predicate, ["cause?", "exec", "exit?", "intent", "outcome", "time", "usage?"], "the end");
		optional(predicate, "cause", (value, what) => oneOf(value, codes, what));
		oneOf(predicate.outcome, RUN_ENDS, "outcome");
	}
	if (kind === "started" || kind === "ended") {
		exec(predicate.exec, "exec");
		digest(predicate.intent, "intent");
	}
	count(predicate.time, "time");
}

export function checkPredicate(kind: string, predicate: JsonObject): void {
	if (kind === "genesis") genesis(predicate);
	else if (kind === "decided") decided(predicate);
	else lifecycle(kind, predicate);
}
