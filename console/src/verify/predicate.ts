/** What a record says: the shape of every kind, as spec/evidence.md has them. */

import { claims, codes, weaker } from "../../../spec/vectors/vocabulary.json";
import { ACTS } from "./acts";
import { fromBase64Url, refuse, utf8 } from "./bytes";
import { TRIPS } from "./claims";
import { isObject, type Json, type JsonObject, str } from "./json";
import * as is from "./shapes";
import { type Check, either, listOf, object, oneOf, setOf } from "./shapes";

const code = oneOf(...codes);

const genesis = object({
	domain: is.domain,
	keys: object({ artifact: is.key, log: is.key, record: is.key }),
	operators: object({ keys: listOf(is.key), needed: is.u32 }),
	time: is.whole,
});

const resourceId: Check = (value, what) => {
	const length = utf8(str(value, what)).length;
	if (length < 1 || length > 4096) refuse(`${what}: 1 to 4096 bytes`);
};
const asked: Check = (value, what) => {
	if (isObject(value) && Object.keys(value).length === 0) refuse(`${what}: says nothing`);
	object({ "exec_check?": oneOf("decide"), "lifetime_secs?": is.whole, "profile?": is.word })(value, what);
};
const intent = object({
	action: is.action,
	"asked?": asked,
	gateway: is.word,
	params: is.commitment,
	"parent?": is.exec,
	principal: is.principal,
	resource: object({ "digest?": is.digest, id: resourceId, kind: is.kind }),
});

/** Claims by name, each a set of texts. */
const tokenClaims: Check = (value, what) => {
	if (!isObject(value) || Object.keys(value).length === 0) return void refuse(`${what}: claims are expected`);
	for (const one of Object.values(value)) setOf(is.text)(one, what);
};
/** Whom an identity provider vouches for. */
const identity = object({ "claims?": tokenClaims, issuer: is.text, subject: is.text });
/** What proved who asks: one of these. */
const caller = either({
	execution: is.exec,
	key: is.commitment,
	spiffe: is.spiffe,
	token: identity,
	unix: is.u32,
});

const environment = object({
	arch: is.text,
	boot: is.text,
	"container?": is.digest,
	distribution: is.text,
	gateway: is.text,
	"gateway_digest?": is.digest,
	kernel: is.text,
	landlock_abi: is.u32,
	machine: is.digest,
	"region?": is.place,
	tier: oneOf("U0", "U1", "P", "none"),
	"weaker?": setOf(oneOf(...weaker), 1),
	"zone?": is.place,
});

const short: Check = (value, what) => {
	const length = fromBase64Url(str(value, what))?.length ?? 0;
	if (length < 1 || length > 1024) refuse(`${what}: 1 to 1024 bytes in base64url`);
};
const nonce: Check = (value, what) => {
	if (fromBase64Url(str(value, what))?.length !== 40) refuse(`${what}: 40 bytes in base64url`);
};
/** What a gateway signed beside the environment. The signature is for `placet log replay` to check. */
const attestation = object({
	backing: either({ tpm_quote: object({ key: short, quoted: short, signature: short }) }, ["self_reported"]),
	issued: is.whole,
	key: is.key,
	nonce,
	signature: is.signature,
});

const found = setOf(oneOf(...claims));
const appraisal = object({
	affirming: found,
	"age_secs?": is.whole,
	contraindicated: found,
	status: oneOf("none", "contraindicated", "warning", "affirming"),
	warning: found,
});

const grant = object({
	"approved_by?": listOf(is.principal, 1),
	delegation: listOf(is.principal),
	depth: is.u32,
	lease_ms: is.whole,
	not_after: is.whole,
	not_before: is.whole,
	profile: is.word,
	"rerouted?": listOf(is.word, 1),
	root: is.exec,
	scope: is.digest,
	staleness_ms: is.whole,
});
const checked = object({ check: is.u8, code, reason: is.text });
const policy = object({ "bundle?": is.digest, determining: listOf(is.text) });
const waits = object({ needs: listOf(object({ count: is.u32, groups: listOf(is.text) })), until: is.whole });

const decision = object({
	"appraisal?": appraisal,
	"artifact?": is.digest,
	"denial?": checked,
	facts: object({
		"attestation?": attestation,
		"bearer?": identity,
		caller,
		environment,
		exec: is.exec,
		holder: is.text,
		time: is.whole,
	}),
	"grant?": grant,
	intent,
	outcome: is.text,
	policy,
	risk: object({ factors: listOf(is.text), score: is.u32 }),
	"waits?": waits,
});
/** What stands beside each answer, and nothing else of these. */
const BESIDE: Record<string, string> = { permit: "artifact,grant", deny: "denial", defer: "waits" };
const decided: Check = (value, what) => {
	decision(value, what);
	const { outcome, ...rest } = value as JsonObject;
	const beside = ["artifact", "denial", "grant", "waits"].filter((name) => rest[name] !== undefined);
	if (beside.join() !== BESIDE[String(outcome)]) refuse("the decision contradicts itself");
};

const about = { exec: is.exec, intent: is.digest, time: is.whole };
const started = object({
	...about,
	"credentials?": setOf(is.secret, 1),
	gateway: is.word,
	"pinned?": is.commitment,
});
const network = object({
	failed: is.whole,
	opened: is.whole,
	received_bytes: is.whole,
	refused: is.whole,
	sent_bytes: is.whole,
});
const usage = object({
	"changes?": object({
		bytes: is.whole,
		count: is.whole,
		digest: is.digest,
		writes: oneOf("direct", "kept", "discarded"),
	}),
	cpu_ms: is.whole,
	"network?": network,
	"output?": object({ bytes: is.whole, commitment: is.commitment, "redacted?": is.u32 }),
	rss_kib_max: is.whole,
	wall_ms: is.whole,
});
const ended = object({
	...about,
	"cause?": code,
	"exit?": either({ code: is.u8, signal: is.u8 }),
	outcome: oneOf("completed", "failed", "terminated", "lapsed", "unseen"),
	"usage?": usage,
});
const SIGNALS = ["drift", "limit", "refused_connect", "refused_exec", "refused_read", "refused_write", "trip"];
const signal = object({
	...about,
	code,
	count: is.whole,
	detail: is.text,
	"ends?": is.flag,
	"kind?": oneOf(...SIGNALS),
	"trip?": oneOf(...TRIPS),
});
/** A list that stands in the payload beside the record. */
const listed = { ...about, count: is.whole, list: is.commitment, "omitted?": is.some };
const answered = object({
	asker: is.principal,
	asking: listOf(is.text),
	caller,
	"denial?": checked,
	environment,
	"found?": object({ at: is.whole, count: is.u32 }),
	outcome: oneOf("permit", "deny", "refused"),
	policy,
	question: is.commitment,
	time: is.whole,
});
const refused = object({
	attempt: is.commitment,
	"caller?": caller,
	caller_uid: is.u32,
	denial: object({ code, reason: is.text }),
	"exec?": is.exec,
	stage: oneOf("intent", "artifact", "control", "identity"),
	time: is.whole,
});

const KINDS: { [kind: string]: Check } = {
	...ACTS,
	answered,
	born: object(listed),
	connections: object({ ...listed, usage: network }),
	decided,
	ended,
	genesis,
	refused,
	signal,
	started,
};

export function checkPredicate(kind: string, predicate: Json): void {
	const check = KINDS[kind] ?? refuse("the predicate type is unknown");
	check(predicate, "the record");
}
