/** Verification of a proof bundle: the same steps, names and order as `placet verify`. */

import { type Audited, audit, checkPins, commitment } from "./artifact";
import { digest, equal, fromBase64, fromBase64Url, Refused, refuse, str8, utf8 } from "./bytes";
import { isKey } from "./ed25519";
import { canonical, isObject, type Json, type JsonObject, members, parse, str } from "./json";
import { allows, execOf, openEntry, type Record, readEntry } from "./record";
import { type Policy, parsePolicy, proveIncluded, rootText } from "./tlog";

export const FORMAT = "placet-proof-bundle/v1";
export const BYTES_MAX = 8 << 20;

export interface Step {
	name: string;
	outcome: "holds" | "fails" | "cannot_tell";
	/** What was found, or why it fails. */
	detail: string;
	/** What the step looked at. */
	inputs: [string, string][];
}
export interface Report {
	steps: Step[];
	verdict: "verified" | "failed";
	/** The step that failed. */
	failed: string | null;
	record: Record | null;
	index: bigint | null;
}
interface Proven {
	entry: string;
	proof: string;
}
export interface Bundle {
	artifact: string | null;
	disclosed: { params: string; salt: string } | null;
	genesis: Proven;
	policy: string;
	record: Proven;
	related: Proven[];
}

class Stop extends Error {}

export function readBundle(bytes: Uint8Array): Bundle {
	const json = members(
		parse(bytes, BYTES_MAX, 16),
		["artifact?", "disclosed?", "format", "genesis", "policy", "record", "related?"],
		"the bundle",
	);
	if (json.format !== FORMAT) refuse(`the format is not ${FORMAT}`);
	const proven = (value: Json | undefined, what: string): Proven => {
		const found = members(value, ["entry", "proof"], what);
		return { entry: str(found.entry, what), proof: str(found.proof, what) };
	};
	// serde reads `null` as absent here, and so does this.
	const present = (value: Json | undefined) => value !== undefined && value !== null;
	let disclosed: Bundle["disclosed"] = null;
	if (present(json.disclosed)) {
		const found = members(json.disclosed, ["params", "salt"], "disclosed");
		disclosed = { params: str(found.params, "params"), salt: str(found.salt, "salt") };
		if (fromBase64Url(disclosed.salt)?.length !== 32) refuse("the salt is not 32 bytes in base64url");
	}
	if (json.related !== undefined && !Array.isArray(json.related)) refuse("related: a list is expected");
	return {
		artifact: present(json.artifact) ? str(json.artifact, "artifact") : null,
		disclosed,
		genesis: proven(json.genesis, "genesis"),
		policy: str(json.policy, "policy"),
		record: proven(json.record, "record"),
		related: ((json.related ?? []) as Json[]).map((one) => proven(one, "related")),
	};
}

interface Genesis {
	domain: string;
	artifact: Uint8Array;
	log: Uint8Array;
	record: Uint8Array;
}

class Run {
	readonly steps: Step[] = [];
	record: Record | null = null;
	index: bigint | null = null;

	step<T>(name: string, inputs: [string, string][], work: () => [T, string]): T {
		try {
			const [value, detail] = work();
			this.steps.push({ name, outcome: "holds", detail, inputs });
			return value;
		} catch (error) {
			if (!(error instanceof Refused)) throw error;
			this.steps.push({ name, outcome: "fails", detail: error.message, inputs });
			throw new Stop();
		}
	}

	fail(name: string, why: string): never {
		this.steps.push({ name, outcome: "fails", detail: why, inputs: [] });
		throw new Stop();
	}

	cannotTell(name: string, why: string): void {
		this.steps.push({ name, outcome: "cannot_tell", detail: why, inputs: [] });
	}

	all(bytes: Uint8Array, trusted: Uint8Array): void {
		const policy = this.step("policy", [["your policy file", `${trusted.length} bytes, ${digest(trusted)}`]], () => {
			const policy = parsePolicy(trusted);
			return [policy, `${policy.logs.length} log, quorum ${policy.quorum ?? "none"}`];
		});
		const bundle = this.step("bundle", [["the bundle", `${bytes.length} bytes, ${digest(bytes)}`]], () => [
			readBundle(bytes),
			"reads strictly",
		]);
		const genesis = this.genesis(bundle, policy);
		const named: [string, string][] = policy.logs.map((log) => ["log of the policy", log.vkey]);
		this.step("log key", [...named, ["domain of the genesis record", genesis.domain]], () => {
			const same = policy.logs.some((log) => equal(log.key, genesis.log) && log.name === genesis.domain);
			return [
				null,
				same ? "the genesis record and the policy name the same" : refuse("the genesis record names another log"),
			];
		});
		const [record, index] = this.proven("record", bundle.record, policy, genesis.record);
		this.artifact(bundle, record, policy, genesis);
		this.disclosed(bundle, record);
		for (const related of bundle.related) {
			const [other] = this.proven("related record", related, policy, genesis.record);
			const allowed = record.predicate.decided_by;
			if (typeof allowed === "string" && allowed === execOf(other)) {
				this.step("decided by", [["execution", allowed]], () => [null, allows(other, record)]);
				continue;
			}
			this.step("same execution", [["execution", execOf(other) ?? "none"]], () => {
				const same = execOf(other) !== null && execOf(other) === execOf(record);
				return [null, same ? other.kind : refuse("is about another execution")];
			});
		}
		this.record = record;
		this.index = index;
	}

	private inclusion(name: string, proven: Proven, policy: Policy): bigint {
		const entry = utf8(proven.entry);
		return this.step(
			name,
			[
				["entry", `${entry.length} bytes, ${digest(entry)}`],
				["proof", proven.proof],
			],
			() => {
				const { index, checkpoint, quorum, path } = proveIncluded(policy, entry, utf8(proven.proof));
				const cosigned = quorum.cosigned.map((one) => one.witness).join(", ");
				const by = cosigned ? `, cosigned by ${cosigned}` : "";
				const found = `index ${index} of ${checkpoint.size}, ${path.length} hashes lead to the root ${rootText(checkpoint)} signed by ${quorum.log.name}${by}`;
				return [index, found];
			},
		);
	}

	private genesis(bundle: Bundle, policy: Policy): Genesis {
		const index = this.inclusion("genesis in the log", bundle.genesis, policy);
		if (index !== 0n) this.fail("genesis", `stands at index ${index}, not at 0`);
		return this.step("genesis", [["entry", bundle.genesis.entry]], () => {
			const entry = utf8(bundle.genesis.entry);
			const { kind, predicate } = readEntry(entry);
			if (kind !== "genesis") refuse(`is a \`${kind}\` record`);
			const keys = predicate.keys as JsonObject;
			const key = (role: string) => {
				const bytes = fromBase64(str8(keys[role]));
				return bytes && isKey(bytes) ? bytes : refuse(`the ${role} key is no Ed25519 key`);
			};
			const genesis = {
				domain: str8(predicate.domain),
				artifact: key("artifact"),
				log: key("log"),
				record: key("record"),
			};
			openEntry(entry, genesis.record);
			return [genesis, `domain ${genesis.domain}`];
		});
	}

	private proven(name: string, proven: Proven, policy: Policy, key: Uint8Array): [Record, bigint] {
		const index = this.inclusion("record in the log", proven, policy);
		const record = this.step(name, [["entry", proven.entry]], () => {
			const record = openEntry(utf8(proven.entry), key);
			return [record, `\`${record.kind}\`, signed by ${record.keyid}`];
		});
		return [record, index];
	}

	private artifact(bundle: Bundle, record: Record, policy: Policy, genesis: Genesis): void {
		if (record.kind !== "decided") {
			if (bundle.artifact !== null) this.fail("artifact", "only a decision has an artifact");
			return;
		}
		const permit = record.predicate.outcome === "permit";
		const { artifact } = bundle;
		if (artifact === null) {
			this.cannotTell("artifact", permit ? "a permit without its artifact" : "a denial has none");
			return;
		}
		if (!permit) this.fail("artifact", "a denial has no artifact");
		const pins = { domain: genesis.domain, artifactKey: genesis.artifact, recordKey: genesis.record, policy };
		this.step("artifact keys", [], () => {
			checkPins(pins);
			return [null, "each role has its own"];
		});
		const receipt = { entry: utf8(bundle.record.entry), proof: utf8(bundle.record.proof) };
		const audited = this.step("artifact", [["artifact", artifact]], () => {
			const audited = audit(artifact, receipt, pins);
			return [audited, `${audited.claims.jti}, named by the record at ${audited.index}`];
		});
		this.bindings(audited, record.predicate);
	}

	private bindings({ claims }: Audited, decided: JsonObject): void {
		const [intent, facts, grant] = [decided.intent, decided.facts, decided.grant].map((one) => one as JsonObject);
		const of = (value: Json | undefined) => digest(utf8(canonical(value ?? null)));
		const delegation = (grant?.delegation ?? []) as string[];
		const detail = (claims.authorization_details as JsonObject[])[0] as JsonObject;
		const bound: [string, Json | undefined, Json | undefined][] = [
			["execution", claims.exec, facts?.exec],
			["intent", claims.intent, of(intent)],
			["parameters", claims.params, intent?.params],
			["principal", claims.sub, delegation.at(-1) ?? intent?.principal],
			["policy", (claims.policy as JsonObject).bundle, (decided.policy as JsonObject | undefined)?.bundle],
			["environment", claims.env, of(facts?.environment)],
			["scope", of(detail.scope), grant?.scope],
		];
		const inputs = bound.map(([what, claim]): [string, string] => [what, String(claim)]);
		this.step("bindings", inputs, () => {
			const broken = bound.find(([, claim, recorded]) => claim !== recorded);
			if (broken) refuse(`the artifact is for another ${broken[0]}`);
			return [null, bound.map(([what]) => what).join(", ")];
		});
	}

	private disclosed(bundle: Bundle, record: Record): void {
		const { disclosed } = bundle;
		if (record.kind !== "decided") {
			if (disclosed) this.fail("parameters", "only a decision has parameters");
			return;
		}
		if (!disclosed) {
			this.cannotTell("parameters", "not disclosed");
			return;
		}
		this.step("parameters", [["parameters", disclosed.params]], () => {
			const intent = record.predicate.intent as JsonObject;
			const salt = fromBase64Url(disclosed.salt) as Uint8Array;
			const opened = commitment(str8(intent.action), utf8(disclosed.params), salt);
			const opens = opened === intent.params;
			return [
				null,
				opens ? "the commitment opens to what is disclosed" : refuse("the commitment opens to something else"),
			];
		});
	}
}

/** Verifies a bundle under the policy file that the verifier trusts. Never throws for what it is given. */
export function verifyBundle(bundle: Uint8Array, policy: Uint8Array): Report {
	const run = new Run();
	try {
		run.all(bundle, policy);
	} catch (error) {
		if (!(error instanceof Stop)) throw error;
	}
	const failed = run.steps.find((step) => step.outcome === "fails")?.name ?? null;
	return {
		steps: run.steps,
		verdict: failed === null && isObject(run.record?.predicate) ? "verified" : "failed",
		failed,
		record: failed === null ? run.record : null,
		index: failed === null ? run.index : null,
	};
}
