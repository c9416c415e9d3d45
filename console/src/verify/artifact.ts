/** Verification of an authorization artifact, step by step, as spec/artifact.md has it. */

import { hmac } from "@noble/hashes/hmac.js";
import { sha256 as hash } from "@noble/hashes/sha2.js";
import {
	concat,
	digest,
	equal,
	fromBase64Url,
	fromHex,
	Refused,
	refuse,
	sha256,
	toBase64Url,
	u64be,
	utf8,
} from "./bytes";
import { actors, type Claims, checkClaims } from "./claims";
import { keyId, verify } from "./ed25519";
import { canonical, isObject, type Json, type JsonObject, members, parseCanonical } from "./json";
import { decodeEnvelope, STATEMENT_MEDIA_TYPE, STATEMENT_TYPE, verifyEnvelope } from "./record";
import { type Policy, policyKeys, proveIncluded } from "./tlog";

const BYTES_MAX = 16 * 1024;
const SKEW_MAX_SECS = 60;
/** The largest time that there is, as an unsigned 64-bit number of milliseconds. */
const TIME_MAX = 2n ** 64n - 1n;

/** A refusal: the step that failed, and its public code. */
export class StepRefused extends Refused {
	constructor(
		readonly step: string,
		readonly code: string,
		why: string,
	) {
		super(why);
	}
}

export interface Pins {
	domain: string;
	artifactKey: Uint8Array;
	recordKey: Uint8Array;
	policy: Policy;
}
export interface Receipt {
	entry: Uint8Array;
	proof: Uint8Array;
}
export interface Audited {
	claims: Claims;
	digest: string;
	index: bigint;
}
/** What a gateway knows by itself when an artifact is presented. */
export interface Expected {
	gateway: string;
	intent: JsonObject;
	params: Uint8Array;
	salt: Uint8Array;
	environment: string;
	policy: string;
	standing: "live" | "revoked" | "halted" | "stale";
	challenge: Uint8Array;
	now: bigint;
	skewSecs: number;
	holder: { key: Uint8Array; signature: Uint8Array };
	used: boolean;
}

function at<T>(step: string, code: string, work: () => T): T {
	try {
		return work();
	} catch (error) {
		if (error instanceof StepRefused || !(error instanceof Refused)) throw error;
		throw new StepRefused(step, code, error.message);
	}
}

function must(holds: boolean, step: string, code: string, why: string): void {
	if (!holds) throw new StepRefused(step, code, why);
}

/** Pins that contradict each other make no verifier. */
export function checkPins({ domain, artifactKey, recordKey, policy }: Pins): void {
	if (policy.logs.length === 0 || policy.logs.some((log) => log.name !== domain)) {
		refuse("the log policy must name logs of the domain, and no others");
	}
	const shared = (key: Uint8Array) => policyKeys(policy).some((other) => equal(other.key, key));
	if (equal(artifactKey, recordKey) || shared(artifactKey) || shared(recordKey))
		refuse("a key is pinned for two roles");
}

/** The digest of what is signed: header and claims. */
export const artifactDigest = (artifact: string): string => digest(utf8(artifact.slice(0, artifact.lastIndexOf("."))));

/** The steps `bounds` to `signature`. */
export function signedClaims(artifact: string, key: Uint8Array): Claims {
	must(utf8(artifact).length <= BYTES_MAX, "bounds", "malformed", "the artifact is longer than 16384 bytes");
	const read = at("parse", "malformed", () => {
		const parts = artifact.split(".");
		if (parts.length !== 3) refuse("the artifact is not three parts with dots between them");
		const [header, payload, signature] = parts.map((part) => fromBase64Url(part));
		if (!header || !payload || !signature) return refuse("a part of the artifact is not canonical base64url");
		if (signature.length !== 64) refuse("the artifact's signature is not 64 bytes");
		const json = parseCanonical(header, 1024, 8);
		return { header: json, claims: checkClaims(parseCanonical(payload, BYTES_MAX)), signature };
	});
	const header = at("header", "malformed", () => {
		const header = members(read.header, ["alg", "kid", "typ"], "the header");
		const known = header.alg === "EdDSA" || header.alg === "Ed25519";
		const kid = typeof header.kid === "string" && fromHex(header.kid)?.length === 8;
		return known && kid && header.typ === "authz-artifact+jwt"
			? header
			: refuse("the header's members have other values");
	});
	must(header.kid === keyId(key), "header", "invalid_signature", "the artifact names another key than the domain's");
	const signed = utf8(artifact.slice(0, artifact.lastIndexOf(".")));
	must(verify(read.signature, signed, key), "signature", "invalid_signature", "the signature does not verify");
	return read.claims;
}

/** The receipt proves that the permit behind the artifact is in the log; gives where. */
export function proveReceipt(receipt: Receipt, artifact: string, policy: Policy): bigint {
	return at("receipt", "receipt_invalid", () => {
		const { index } = proveIncluded(policy, receipt.entry, receipt.proof);
		const envelope = decodeEnvelope(receipt.entry);
		if (envelope.payloadType !== STATEMENT_MEDIA_TYPE) refuse("the entry is not an in-toto statement");
		const statement = parseCanonical(envelope.payload, 65_535);
		if (!isObject(statement) || statement._type !== STATEMENT_TYPE)
			return refuse("the entry is not an in-toto statement");
		const predicate = statement.predicate;
		if (statement.predicateType !== "urn:placet:evidence:decided:v1" || !isObject(predicate)) {
			return refuse("the entry is not the record of a decision");
		}
		if (predicate.outcome !== "permit") refuse("the recorded decision is not a permit");
		if (predicate.artifact !== artifactDigest(artifact)) refuse("the recorded decision names another artifact");
		return index;
	});
}

/** For reading evidence afterwards: no call, no clock, no holder; the record's own signature besides. */
export function audit(artifact: string, receipt: Receipt, pins: Pins): Audited {
	const claims = signedClaims(artifact, pins.artifactKey);
	must(claims.iss === pins.domain, "issuer", "wrong_domain", `the artifact was issued by ${claims.iss}`);
	const index = proveReceipt(receipt, artifact, pins.policy);
	at("receipt", "receipt_invalid", () => verifyEnvelope(decodeEnvelope(receipt.entry), pins.recordKey));
	return { claims, digest: artifactDigest(artifact), index };
}

/** HMAC-SHA256 with the salt as key over the length of the label, the label, and the payload. */
export function commitment(label: string, payload: Uint8Array, salt: Uint8Array): string {
	const name = utf8(label);
	return toBase64Url(hmac(hash, salt, concat(u64be(BigInt(name.length)), name, payload)));
}

/** JWK thumbprint of an Ed25519 key (RFC 7638). */
export function thumbprint(key: Uint8Array): string {
	return toBase64Url(sha256(utf8(`{"crv":"Ed25519","kty":"OKP","x":"${toBase64Url(key)}"}`)));
}

/** All of the steps, in order. Throws at the first that fails. */
export function present(artifact: string, receipt: Receipt, pins: Pins, expected: Expected): void {
	const claims = signedClaims(artifact, pins.artifactKey);
	const skew = BigInt(Math.min(expected.skewSecs, SKEW_MAX_SECS)) * 1000n;
	const plus = (time: bigint) => (time + skew > TIME_MAX ? TIME_MAX : time + skew);
	must(plus(expected.now) >= BigInt(claims.nbf) * 1000n, "window", "not_yet_valid", "the window has not begun");
	must(expected.now < plus(BigInt(claims.exp) * 1000n), "window", "expired", "the window ended");
	must(claims.iss === pins.domain, "issuer", "wrong_domain", `issued by ${claims.iss}`);
	must(claims.aud === expected.gateway, "audience", "audience_mismatch", `for the gateway ${claims.aud}`);
	proveReceipt(receipt, artifact, pins.policy);
	const standing = { revoked: "revoked", halted: "halted", stale: "governance_discontinuity" };
	if (expected.standing !== "live") {
		throw new StepRefused("revocation", standing[expected.standing], "the authority does not stand");
	}
	must(intentAgrees(claims, expected.intent), "intent", "intent_mismatch", "the artifact is for another intent");
	const detail = (claims.authorization_details as JsonObject[])[0] as JsonObject;
	const opened = commitment(detail.action as string, expected.params, expected.salt);
	must(opened === claims.params, "params", "intent_mismatch", "the parameters are not those that were decided");
	must(claims.env === expected.environment, "environment", "environment_untrusted", "another environment");
	const bundle = (claims.policy as JsonObject).bundle;
	must(bundle === expected.policy, "policy", "policy_mismatch", "another policy bundle is active");
	const { key, signature } = expected.holder;
	const bound = thumbprint(key) === (claims.cnf as JsonObject).jkt;
	const own = fromHex(artifactDigest(artifact).replace("sha256:", "")) as Uint8Array;
	const message = concat(utf8("placet-holder-proof-v1\n"), own, expected.challenge);
	must(bound && verify(signature, message, key), "holder", "holder_mismatch", "the holder's proof does not hold");
	must(!expected.used, "replay", "replayed", "the artifact was used");
}

function intentAgrees(claims: Claims, intent: JsonObject): boolean {
	const detail = (claims.authorization_details as JsonObject[])[0] as JsonObject;
	const same = (a: Json | undefined, b: Json | undefined) => canonical(a ?? null) === canonical(b ?? null);
	return (
		same(detail.action, intent.action) &&
		same(detail.resource, intent.resource) &&
		same(claims.aud, intent.gateway) &&
		same(actors(claims.act)[0] ?? claims.sub, intent.principal) &&
		same(claims.parent, intent.parent) &&
		same(claims.params, intent.params) &&
		digest(utf8(canonical(intent))) === claims.intent
	);
}
