/** The transparency log: tree, notes, checkpoints, policies and proofs (C2SP), as spec/log.md has them. */

import { concat, decimal, equal, fromBase64, fromHex, hex, refuse, sha256, text, toBase64, u64be, utf8 } from "./bytes";
import { isKey, verify } from "./ed25519";

export const SIZE_MAX = 2n ** 63n - 1n;
const NOTE_BYTES_MAX = 262_144;
const SIGNATURES_MAX = 128;
const POLICY_BYTES_MAX = 65_536;
const MEMBERS_MAX = 64;
const EXTRA_BYTES_MAX = 65_536;
const PROOF_BYTES_MAX = Math.floor(EXTRA_BYTES_MAX / 3) * 4 + 64 * 45 + 256 + NOTE_BYTES_MAX;

export interface VerifierKey {
	vkey: string;
	name: string;
	id: string;
	kind: 1 | 4;
	key: Uint8Array;
}
interface Line {
	name: string;
	id: string;
	signature: Uint8Array;
}
export interface Note {
	text: string;
	lines: Line[];
}
export interface Verified {
	key: VerifierKey;
	time: bigint | null;
}
export interface Checkpoint {
	origin: string;
	size: bigint;
	root: Uint8Array;
	note: Note;
}
interface Group {
	threshold: number;
	members: string[];
}
export interface Policy {
	logs: VerifierKey[];
	witnesses: Map<string, VerifierKey>;
	groups: Map<string, Group>;
	quorum: string | null;
}
export interface Proof {
	index: bigint;
	path: Uint8Array[];
	extra: Uint8Array | null;
	checkpoint: Checkpoint;
}
export interface Quorum {
	cosigned: { witness: string; time: bigint }[];
	log: VerifierKey;
}

// The tree (RFC 6962; verification as in RFC 9162).

export const leafHash = (entry: Uint8Array): Uint8Array => sha256(Uint8Array.of(0), entry);
const node = (left: Uint8Array, right: Uint8Array): Uint8Array => sha256(Uint8Array.of(1), left, right);
const EMPTY_ROOT = sha256();

export function checkInclusion(
	leaf: Uint8Array,
	index: bigint,
	size: bigint,
	root: Uint8Array,
	path: Uint8Array[],
): void {
	if (size > SIZE_MAX) refuse("a tree of this size is larger than any log");
	if (index >= size) refuse(`a tree of ${size} leaves has no leaf ${index}`);
	let [at, last, hash] = [index, size - 1n, leaf];
	for (const sibling of path) {
		if (last === 0n) refuse("the proof is longer than the path to the leaf");
		if (at % 2n === 1n || at === last) {
			hash = node(sibling, hash);
			while (at % 2n === 0n && at !== 0n) [at, last] = [at >> 1n, last >> 1n];
		} else {
			hash = node(hash, sibling);
		}
		[at, last] = [at >> 1n, last >> 1n];
	}
	if (last !== 0n) refuse("the proof is shorter than the path to the leaf");
	if (!equal(hash, root)) refuse("the proof leads to another root");
}

export function checkConsistency(
	old: bigint,
	oldRoot: Uint8Array,
	size: bigint,
	root: Uint8Array,
	proof: Uint8Array[],
): void {
	if (size > SIZE_MAX || old > size) refuse("the sizes fit no growing tree");
	if (old === 0n || old === size) {
		if (proof.length > 0) refuse("the proof has another length than the sizes need");
		if (old === 0n && !equal(oldRoot, EMPTY_ROOT)) refuse("an empty tree has another root");
		if (old === size && !equal(oldRoot, root)) refuse("the roots differ");
		return;
	}
	let [fn, sn] = [old - 1n, size - 1n];
	while (fn % 2n === 1n) [fn, sn] = [fn >> 1n, sn >> 1n];
	// A tree that was whole is its own first hash.
	const hashes = fn === 0n ? [oldRoot, ...proof] : proof;
	const [first, ...rest] = hashes;
	if (!first) return refuse("the proof has another length than the sizes need");
	let [before, after] = [first, first];
	for (const hash of rest) {
		if (sn === 0n) refuse("the proof has another length than the sizes need");
		if (fn % 2n === 1n || fn === sn) {
			[before, after] = [node(hash, before), node(hash, after)];
			while (fn % 2n === 0n && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
		} else {
			after = node(after, hash);
		}
		[fn, sn] = [fn >> 1n, sn >> 1n];
	}
	if (sn !== 0n) refuse("the proof has another length than the sizes need");
	if (!equal(before, oldRoot)) refuse("the proof leads to another root of the older tree");
	if (!equal(after, root)) refuse("the proof leads to another root of the newer tree");
}

// Keys and notes.

function isName(name: string): boolean {
	const length = utf8(name).length;
	// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
	return length >= 1 && length <= 255 && !/[\s\u0085+\x00-\x1f\x7f]/u.test(name.replaceAll("\ufeff", ""));
}

function noteKeyId(name: string, kind: number, key: Uint8Array): string {
	return hex(sha256(utf8(name), Uint8Array.of(0x0a, kind), key).subarray(0, 4));
}

export function parseVkey(vkey: string): VerifierKey {
	const first = vkey.indexOf("+");
	const second = vkey.indexOf("+", first + 1);
	if (first < 0 || second < 0) refuse("a verifier key is a name, a key id and a key");
	const [name, id] = [vkey.slice(0, first), vkey.slice(first + 1, second)];
	if (!isName(name)) refuse("the name of a verifier key is out of bounds");
	if (fromHex(id)?.length !== 4) refuse("a key id is eight lower-case hex digits");
	const material = fromBase64(vkey.slice(second + 1)) ?? refuse("the key is not standard base64");
	const [kind, key] = [material[0], material.subarray(1)];
	if (kind !== 1 && kind !== 4) return refuse("the type of the key is not 0x01 or 0x04");
	if (!isKey(key)) refuse("the key is no Ed25519 key that may be used");
	if (noteKeyId(name, kind, key) !== id) refuse("the key id is not that of its parts");
	return { vkey, name, id, kind, key };
}

export function parseLine(line: string): Line {
	const found = /^\u2014 ([^ ]+) ([^ ]+)$/.exec(line);
	const [name, blob] = [found?.[1] ?? "", fromBase64(found?.[2] ?? "")];
	if (!found || !isName(name) || !blob || blob.length < 5) refuse("a signature line does not read");
	return { name, id: hex((blob as Uint8Array).subarray(0, 4)), signature: (blob as Uint8Array).subarray(4) };
}

export function parseNote(bytes: Uint8Array): Note {
	if (bytes.length > NOTE_BYTES_MAX) refuse("the note is too long");
	if (bytes.some((byte) => byte < 0x20 && byte !== 0x0a)) refuse("the note holds a control character");
	const whole = text(bytes);
	const blank = whole.lastIndexOf("\n\n");
	if (blank < 0) refuse("no blank line sets the signatures apart");
	const lines = whole.slice(blank + 2);
	if (!lines.endsWith("\n")) refuse("a note ends in signature lines");
	const split = lines.slice(0, -1).split("\n");
	if (split.length > SIGNATURES_MAX) refuse("a note has too many signature lines");
	return { text: `${whole.slice(0, blank)}\n`, lines: split.map(parseLine) };
}

/** The time of a cosignature; null for a plain signature. Refuses what does not verify. */
export function checkLine(key: VerifierKey, body: string, line: Line): bigint | null {
	if (line.name !== key.name || line.id !== key.id) refuse("the line is of another key");
	let [message, signature, time] = [utf8(body), line.signature, null as bigint | null];
	if (key.kind === 4) {
		if (signature.length !== 72) refuse("a cosignature has another length");
		const view = new DataView(signature.buffer, signature.byteOffset, 8);
		time = view.getBigUint64(0);
		if (time === 0n || time > SIZE_MAX) refuse("the time of a cosignature is out of bounds");
		message = concat(utf8(`cosignature/v1\ntime ${time}\n`), message);
		signature = signature.subarray(8);
	}
	if (!verify(signature, message, key.key)) refuse(`the signature by ${key.name} does not verify`);
	return time;
}

/** The known keys that signed. A line of a known key that fails refuses the note. */
export function verifyNote(note: Note, keys: VerifierKey[]): Verified[] {
	const verified: Verified[] = [];
	for (const line of note.lines) {
		const key = keys.find((one) => one.name === line.name && one.id === line.id);
		if (!key) continue;
		const time = checkLine(key, note.text, line);
		if (!verified.some((seen) => seen.key === key)) verified.push({ key, time });
	}
	if (verified.length === 0) refuse("no signature is by a known key");
	return verified;
}

export function parseCheckpoint(bytes: Uint8Array): Checkpoint {
	const note = parseNote(bytes);
	const [origin, size, root, end, ...more] = note.text.split("\n");
	if (origin === undefined || size === undefined || root === undefined || end !== "" || more.length > 0) {
		return refuse("a checkpoint has three lines: origin, size, root");
	}
	if (!isName(origin)) refuse("the origin does not name a key");
	const leaves = decimal(size, SIZE_MAX) ?? refuse("the size is no decimal up to 2^63 - 1");
	const hash = fromBase64(root);
	if (hash?.length !== 32) return refuse("the root is not 32 bytes in base64");
	if (leaves === 0n && !equal(hash, EMPTY_ROOT)) refuse("an empty tree has another root");
	return { origin, size: leaves, root: hash, note };
}

/** The log's own signature, and the others that verified. */
export function openCheckpoint(checkpoint: Checkpoint, keys: VerifierKey[]): [VerifierKey, Verified[]] {
	const verified = verifyNote(checkpoint.note, keys);
	const log = verified.find(({ key }) => key.kind === 1 && key.name === checkpoint.origin)?.key;
	return [log ?? refuse(`no known key of the log ${checkpoint.origin} signed`), verified];
}

// Policies.

export function parsePolicy(bytes: Uint8Array): Policy {
	if (bytes.length > POLICY_BYTES_MAX) refuse("the policy file is too long");
	// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
	if (/[\x00-\x08\x0b-\x1f\x7f]/.test(text(bytes))) refuse("the policy file holds a control character");
	const file = text(bytes);
	if (file !== "" && !file.endsWith("\n")) refuse("the last line of the policy file is not ended");
	const policy: Policy = { logs: [], witnesses: new Map(), groups: new Map(), quorum: null };
	const state = { policy, decided: false, taken: new Set<string>() };
	file.split("\n").forEach((line, at) => {
		const words = line.split(/[ \t]/).filter((word) => word !== "");
		if (words.length === 0 || words[0]?.startsWith("#")) return;
		takeLine(state, words, `line ${at + 1} of the policy`);
	});
	if (!state.decided) refuse("the policy has no quorum line");
	return policy;
}

function takeLine(
	state: { policy: Policy; decided: boolean; taken: Set<string> },
	[word, ...rest]: string[],
	where: string,
): void {
	const { policy } = state;
	const defined = (name: string) => policy.witnesses.has(name) || policy.groups.has(name);
	const define = (name: string) => {
		const bad = utf8(name).length > 255 || name === "none" || defined(name);
		if (bad) refuse(`${where}: the name ${name} cannot be used`);
	};
	const [first = "", second = ""] = rest;
	if (word === "log" && (rest.length === 1 || rest.length === 2)) {
		addKey(policy, parseVkey(first), 1, where);
		policy.logs.push(parseVkey(first));
	} else if (word === "witness" && (rest.length === 2 || rest.length === 3)) {
		const key = parseVkey(second);
		addKey(policy, key, 4, where);
		define(first);
		policy.witnesses.set(first, key);
	} else if (word === "group" && rest.length >= 2) {
		define(first);
		const members = rest.slice(2);
		for (const member of members) {
			if (!defined(member)) refuse(`${where}: ${member} is not defined`);
			if (state.taken.has(member)) refuse(`${where}: ${member} is a member already`);
			state.taken.add(member);
		}
		const count = { all: members.length, any: 1 }[second] ?? Number(decimal(second, 2n ** 53n) ?? -1n);
		if (members.length === 0 || count < 1 || count > members.length) refuse(`${where}: the threshold`);
		policy.groups.set(first, { threshold: count, members });
	} else if (word === "quorum" && rest.length === 1) {
		if (state.decided) refuse(`${where}: a second quorum`);
		if (first !== "none" && !defined(first)) refuse(`${where}: ${first} is not defined`);
		policy.quorum = first === "none" ? null : first;
		state.decided = true;
	} else {
		refuse(`${where} does not read`);
	}
	const sizes = [policy.logs.length, policy.witnesses.size, policy.groups.size];
	if (sizes.some((size) => size > MEMBERS_MAX)) refuse(`${where}: too many of a kind`);
}

export const policyKeys = (policy: Policy): VerifierKey[] => [...policy.logs, ...policy.witnesses.values()];

function addKey(policy: Policy, key: VerifierKey, kind: number, where: string): void {
	if (key.kind !== kind) refuse(`${where}: a key of another type`);
	const clash = (other: VerifierKey) => equal(other.key, key.key) || (other.name === key.name && other.id === key.id);
	if (policyKeys(policy).some(clash)) refuse(`${where}: a key that stands there already`);
}

/** Whether the checkpoint meets the policy: the log's signature, the quorum's cosignatures. */
export function checkQuorum(policy: Policy, checkpoint: Checkpoint): Quorum {
	const [log, verified] = openCheckpoint(checkpoint, policyKeys(policy));
	const cosigned: Quorum["cosigned"] = [];
	for (const [witness, key] of policy.witnesses) {
		const time = verified.find((one) => one.key === key)?.time;
		if (time !== null && time !== undefined) cosigned.push({ witness, time });
	}
	const met = (name: string): boolean => {
		const group = policy.groups.get(name);
		if (!group) return cosigned.some(({ witness }) => witness === name);
		return group.members.filter(met).length >= group.threshold;
	};
	if (policy.quorum !== null && !met(policy.quorum)) {
		refuse(
			`the quorum ${policy.quorum} is not met; cosigned: ${cosigned.map((one) => one.witness).join(", ") || "none"}`,
		);
	}
	return { cosigned, log };
}

// Proof files.

export function parseProof(bytes: Uint8Array): Proof {
	if (bytes.length > PROOF_BYTES_MAX) refuse("the proof is too long");
	if (bytes.some((byte) => byte < 0x20 && byte !== 0x0a)) refuse("the proof holds a control character");
	const whole = text(bytes);
	const blank = whole.indexOf("\n\n");
	if (blank < 0) refuse("no blank line sets the checkpoint apart");
	const lines = whole.slice(0, blank).split("\n");
	if (lines.shift() !== "c2sp.org/tlog-proof@v1") refuse("the proof begins with another line");
	let extra: Uint8Array | null = null;
	if (lines[0]?.startsWith("extra ")) {
		extra = fromBase64((lines.shift() as string).slice("extra ".length));
		if (!extra || extra.length < 1 || extra.length > EXTRA_BYTES_MAX) refuse("the extra data does not read");
	}
	const index = decimal(/^index (.*)$/.exec(lines.shift() ?? "")?.[1] ?? "", 2n ** 64n - 1n);
	if (index === null) return refuse("the proof has no index line that reads");
	if (lines.length > 64) refuse("the path is longer than any");
	const path = lines.map((line) => {
		const hash = fromBase64(line);
		return hash?.length === 32 ? hash : refuse("a line of the path is no hash");
	});
	if (path.length > 63) refuse("the path is longer than any");
	return { index, path, extra, checkpoint: parseCheckpoint(utf8(whole.slice(blank + 2))) };
}

/** The index at which the entry stands, under a checkpoint that meets the policy. */
export function proveIncluded(policy: Policy, entry: Uint8Array, proof: Uint8Array): Proof & { quorum: Quorum } {
	const parsed = parseProof(proof);
	const { checkpoint } = parsed;
	const quorum = checkQuorum(policy, checkpoint);
	checkInclusion(leafHash(entry), parsed.index, checkpoint.size, checkpoint.root, parsed.path);
	return { ...parsed, quorum };
}

export const cosignedBody = (time: bigint, body: string): Uint8Array =>
	concat(u64be(time), utf8(`cosignature/v1\ntime ${time}\n${body}`));

export const rootText = (checkpoint: Checkpoint): string => toBase64(checkpoint.root);
