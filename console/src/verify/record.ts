/** Entries of the log: DSSE envelope, in-toto statement, record. As spec/evidence.md has them. */

import { kinds } from "../../../spec/vectors/vocabulary.json";
import { concat, equal, fromBase64, hex, refuse, sha256, str8, utf8 } from "./bytes";
import { keyId, verify } from "./ed25519";
import {
	canonical,
	isObject,
	type Json,
	type JsonObject,
	members,
	parse,
	parseCanonical,
	RECORD_BYTES_MAX,
	str,
} from "./json";
import { checkPredicate } from "./predicate";

export const STATEMENT_MEDIA_TYPE = "application/vnd.in-toto+json";
export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
/** Every kind of record that this version knows. */
export const KINDS: string[] = kinds;
const PREFIX = "urn:placet:evidence:";

/** Those whose subject is the execution. */
const ABOUT_EXECUTION = ["approval", "born", "connections", "decided", "ended", "signal", "started"];

export interface Envelope {
	payload: Uint8Array;
	payloadType: string;
	keyid: string;
	signature: Uint8Array;
}
export interface Record {
	kind: string;
	predicate: JsonObject;
	keyid: string;
}

export function decodeEnvelope(entry: Uint8Array): Envelope {
	const read = () => members(parse(entry, RECORD_BYTES_MAX), ["payload", "payloadType", "signatures"], "the envelope");
	const envelope = read();
	const payloadType = str(envelope.payloadType, "payloadType");
	if (!/^[!#-[\]-~]{1,128}$/.test(payloadType)) refuse("the payload type is out of bounds");
	const [first, ...more] = Array.isArray(envelope.signatures) ? envelope.signatures : [];
	if (more.length > 0) refuse("the envelope has more than one signature");
	const signed = members(first, ["keyid", "sig"], "the envelope's signature");
	const keyid = str(signed.keyid, "keyid");
	if (!/^[0-9a-f]{16}$/.test(keyid)) refuse("the envelope's key id is no key id");
	const payload = fromBase64(str(envelope.payload, "payload"));
	const signature = fromBase64(str(signed.sig, "sig"));
	if (!payload || signature?.length !== 64) return refuse("the payload or the signature is not canonical base64");
	if (!equal(utf8(canonical(envelope)), entry)) refuse("the envelope is not in canonical form (RFC 8785)");
	return { payload, payloadType, keyid, signature };
}

/** What a DSSE signature covers. */
export function pae(payloadType: string, payload: Uint8Array): Uint8Array {
	return concat(utf8(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} `), payload);
}

export function verifyEnvelope(envelope: Envelope, key: Uint8Array): void {
	if (keyId(key) !== envelope.keyid) refuse("the envelope names another key");
	const message = pae(envelope.payloadType, envelope.payload);
	if (!verify(envelope.signature, message, key)) refuse("the signature of the envelope does not verify");
}

/** Reads the record of an entry, without its signature. */
export function readEntry(entry: Uint8Array): Record {
	return readStatement(decodeEnvelope(entry));
}

/** Reads the record of an entry, signed by this key. */
export function openEntry(entry: Uint8Array, key: Uint8Array): Record {
	const envelope = decodeEnvelope(entry);
	verifyEnvelope(envelope, key);
	return readStatement(envelope);
}

function readStatement(envelope: Envelope): Record {
	if (envelope.payloadType !== STATEMENT_MEDIA_TYPE) refuse(`the payload type is not ${STATEMENT_MEDIA_TYPE}`);
	const json = parseCanonical(envelope.payload, RECORD_BYTES_MAX);
	const statement = members(json, ["_type", "predicate", "predicateType", "subject"], "the statement");
	if (statement._type !== STATEMENT_TYPE) refuse("the payload is not an in-toto statement");
	const type = str(statement.predicateType, "predicateType");
	const kind = new RegExp(`^${PREFIX}([a-z]+):v1$`).exec(type)?.[1] ?? "";
	if (!KINDS.includes(kind)) refuse("the predicate type is unknown");
	const predicate = statement.predicate;
	if (!isObject(predicate)) return refuse("the predicate is no object");
	const record = { kind, predicate, keyid: envelope.keyid };
	checkPredicate(kind, predicate);
	if (canonical(statement.subject as Json) !== canonical([subject(record)])) {
		refuse("the subject does not follow from the predicate");
	}
	return record;
}

/** The time of a record; where it is decided, it stands among the facts. */
export function timeOf({ predicate }: { kind: string; predicate: JsonObject }): number {
	const facts = isObject(predicate.facts) ? predicate.facts : {};
	return (predicate.time ?? facts.time) as number;
}

/** The execution that a record is about. */
export function execOf({ kind, predicate }: Record): string | null {
	const facts = isObject(predicate.facts) ? predicate.facts : {};
	const exec = kind === "decided" ? facts.exec : predicate.exec;
	return typeof exec === "string" ? exec : null;
}

/** Acts that a bundle can govern, and the actions that its policies decide. */
const ACTS: { [kind: string]: string } = {
	definition: "admin:definition",
	erased: "admin:erase",
	policy: "admin:activate",
	principal: "admin:principal",
	resumed: "admin:resume",
	secret: "admin:secret",
};

/** What the permit for exactly this act permits; its decision names the digest of everything that the act's record says. */
export function allows(decided: Record, act: Record): string {
	const { outcome, intent } = decided.predicate;
	if (decided.kind !== "decided" || !isObject(intent)) return refuse("is no decision");
	const { decided_by: _, ...said } = act.predicate;
	const plain = { ...said, time: 0, ...(act.kind === "secret" ? { version: 0 } : {}) };
	const digest = `sha256:${hex(sha256(utf8(canonical(plain))))}`;
	const resource = isObject(intent.resource) ? intent.resource : {};
	const fits =
		outcome === "permit" &&
		intent.action === ACTS[act.kind] &&
		intent.principal === act.predicate.by &&
		resource.digest === digest;
	return fits ? String(intent.action) : refuse("is no permit for exactly this act");
}

function subject(record: Record): JsonObject {
	const { kind, predicate } = record;
	if (!ABOUT_EXECUTION.includes(kind)) {
		return { digest: { sha256: hex(sha256(utf8(canonical(predicate)))) }, name: kind };
	}
	const intent =
		kind === "decided" ? `sha256:${hex(sha256(utf8(canonical(predicate.intent as Json))))}` : str8(predicate.intent);
	return { digest: { sha256: intent.replace(/^sha256:/, "") }, name: execOf(record) ?? "" };
}
