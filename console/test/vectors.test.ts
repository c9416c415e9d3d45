import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Expected, type Pins, present, StepRefused } from "../src/verify/artifact";
import { verifyBundle } from "../src/verify/bundle";
import { digest, fromBase64, fromBase64Url, fromHex, hex, Refused, text, toBase64, utf8 } from "../src/verify/bytes";
import { canonical, parse } from "../src/verify/json";
import * as tlog from "../src/verify/tlog";

// biome-ignore lint/suspicious/noExplicitAny: vectors are data of many shapes
type Any = any;
const vectors = (name: string): Any => JSON.parse(readFileSync(`../spec/vectors/${name}.json`, "utf8"));
const bytes = (base64: string) => fromBase64(base64) as Uint8Array;
const tree = (checkpoint: tlog.Checkpoint) => ({
	origin: checkpoint.origin,
	root: toBase64(checkpoint.root),
	size: String(checkpoint.size),
});
const hashes = (all: string[]) => all.map(bytes);

/** What each section gives for its input; it throws where the input is not valid. */
const sections: Record<string, (input: Any) => Any> = {
	leaf: ({ entry_hex, hash }) => {
		if (toBase64(tlog.leafHash(fromHex(entry_hex) as Uint8Array)) !== hash) throw new Refused("another hash");
		return {};
	},
	inclusion: ({ leaf, index, size, root, proof }) => {
		tlog.checkInclusion(bytes(leaf), BigInt(index), BigInt(size), bytes(root), hashes(proof));
		return {};
	},
	consistency: (it) => {
		const proof = hashes(it.proof);
		tlog.checkConsistency(BigInt(it.old_size), bytes(it.old_root), BigInt(it.new_size), bytes(it.new_root), proof);
		return {};
	},
	vkey: ({ vkey }) => {
		const key = tlog.parseVkey(vkey);
		const kind = key.kind === 1 ? "ed25519" : "cosignature/v1";
		return { key_id: key.id, kind, name: key.name, public_key_hex: hex(key.key) };
	},
	note: ({ keys, note }) => {
		const parsed = tlog.parseNote(utf8(note));
		const signers = tlog.verifyNote(parsed, keys.map(tlog.parseVkey)).map(({ key }) => key.vkey);
		return { signers, text: parsed.text };
	},
	checkpoint: ({ keys, note }) => {
		const checkpoint = tlog.parseCheckpoint(utf8(note));
		tlog.openCheckpoint(checkpoint, keys.map(tlog.parseVkey));
		return tree(checkpoint);
	},
	cosignature: ({ vkey, body, line }) => {
		const time = tlog.checkLine(tlog.parseVkey(vkey), body, tlog.parseLine(line));
		return { time: Number(time) };
	},
	policy_file: ({ policy }) => {
		tlog.parsePolicy(utf8(policy));
		return {};
	},
	quorum: ({ policy, note }) => {
		const checkpoint = tlog.parseCheckpoint(utf8(note));
		const { cosigned } = tlog.checkQuorum(tlog.parsePolicy(utf8(policy)), checkpoint);
		return {
			cosigned: cosigned.map((one) => ({ time: Number(one.time), witness: one.witness })),
			tree: tree(checkpoint),
		};
	},
	proof: ({ policy, proof, entry_hex }) => {
		const entry = fromHex(entry_hex) as Uint8Array;
		const found = tlog.proveIncluded(tlog.parsePolicy(utf8(policy)), entry, utf8(proof));
		return {
			extra_hex: found.extra ? hex(found.extra) : null,
			index: Number(found.index),
			tree: tree(found.checkpoint),
		};
	},
};

/** Of tiles and their paths the browser reads nothing. */
const NOT_HERE = ["path", "hash_tile", "entry_bundle"];

describe("spec/vectors/tlog.json", () => {
	const all = vectors("tlog").sections;
	it("every section is run, or read by nobody here", () => {
		expect(Object.keys(all).sort()).toEqual([...Object.keys(sections), ...NOT_HERE].sort());
	});
	for (const [section, run] of Object.entries(sections)) {
		it.each<{ name: string; input: Any; outcome: Any }>(all[section])(`${section}: $name`, ({ input, outcome }) => {
			if (!outcome.valid) {
				expect(() => run(input)).toThrow(Refused);
				return;
			}
			const gives = run(input);
			// A policy's canonical form is not made here.
			if (section !== "policy_file" && outcome.gives) expect(gives).toEqual(outcome.gives);
		});
	}
});

describe("spec/vectors/artifact.json", () => {
	const file = vectors("artifact");
	const pins: Pins = {
		domain: file.pins.domain,
		artifactKey: bytes(file.pins.artifact_key),
		recordKey: bytes(file.pins.record_key),
		policy: tlog.parsePolicy(utf8(file.pins.log_policy)),
	};
	it.each<Any>(file.cases)("$name", (one) => {
		const call = { ...file.call, ...one.call };
		const expected: Expected = {
			gateway: call.gateway,
			intent: parse(utf8(JSON.stringify(call.intent)), 1 << 20) as Expected["intent"],
			params: bytes(call.params),
			salt: fromBase64Url(call.salt) as Uint8Array,
			environment: call.environment,
			policy: call.policy,
			standing: call.standing,
			challenge: bytes(call.challenge),
			now: BigInt(call.now_ms),
			skewSecs: call.skew_secs,
			holder: { key: bytes(one.holder.key), signature: bytes(one.holder.signature) },
			used: call.used_before,
		};
		const receipt = file.receipts[one.receipt];
		const presented = { entry: bytes(receipt.entry), proof: utf8(receipt.proof) };
		const verify = () => present(file.artifacts[one.artifact], presented, pins, expected);
		if (one.outcome === "verified") {
			verify();
			return;
		}
		let found: unknown;
		try {
			verify();
		} catch (error) {
			found = error;
		}
		expect(found).toBeInstanceOf(StepRefused);
		const { step, code } = found as StepRefused;
		expect({ step, code }).toEqual(one.outcome);
	});
});

describe("spec/vectors/policy.json", () => {
	it("the digest of a bundle is that of its manifest, which has the members' digests", () => {
		const { members, manifest, digest: whole } = vectors("policy");
		const read = parse(utf8(manifest), 1 << 20) as Any;
		expect(canonical(read)).toBe(manifest);
		expect(digest(utf8(manifest))).toBe(whole);
		for (const [path, content] of Object.entries(members)) {
			expect(read.members[path]).toBe(digest(utf8(content as string)));
		}
		expect(text(utf8(manifest))).toBe(manifest);
	});
});

/** The bundle with everything altered that a case names. */
function altered(bundle: Any, edits: Any[]): Any {
	const whole = structuredClone(bundle);
	for (const { pointer, value, remove, at, to } of edits) {
		const path = pointer.split("/").slice(1);
		const name = path.pop();
		const parent = path.reduce((inner: Any, part: string) => inner[part], whole);
		if (remove) delete parent[name];
		else if (to !== undefined) parent[name] = parent[name].slice(0, at) + to + parent[name].slice(at + 1);
		else parent[name] = value;
	}
	return whole;
}

describe("spec/vectors/bundle.json", () => {
	const file = vectors("bundle");
	it.each<Any>(file.cases)("$name", ({ bundle, edits, policy, trace }) => {
		const whole = utf8(JSON.stringify(altered(file.bundles[bundle], edits)));
		const { steps, verdict } = verifyBundle(whole, utf8(file.policies[policy]));
		const wanted = file.traces[trace];
		expect(steps.map((step) => [step.name, step.outcome])).toEqual(wanted);
		const failed = wanted.some(([, outcome]: [string, string]) => outcome === "fails");
		expect(verdict).toBe(failed ? "failed" : "verified");
	});
});
