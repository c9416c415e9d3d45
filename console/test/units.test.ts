import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Node } from "../src/lib/api";
import { axisOf, rankAt, ticks, valueAt } from "../src/lib/brush";
import { diffLines, excerpt } from "../src/lib/diff";
import { Parser } from "../src/lib/events";
import { ancestors, descendants, placeAll } from "../src/lib/lanes";
import { parseMetrics, quantile, RULES, rate, sum } from "../src/lib/metrics";
import { fromArchive, fromFiles } from "../src/lib/offered";
import { steps } from "../src/lib/play";
import { ago, bytes, duration, spelled } from "../src/lib/said";
import { fromBase64, fromBase64Url, utf8 } from "../src/verify/bytes";
import { canonical, parse } from "../src/verify/json";

describe("canonical JSON", () => {
	it("is RFC 8785, by the example printed there", () => {
		const text = String.raw`{"numbers":[333333333.33333329,1E3,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`;
		const wanted = String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1000,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`;
		expect(canonical(parse(utf8(text), 1000))).toBe(wanted);
	});
	it.each([
		"",
		" ",
		"[1,]",
		"01",
		"1.",
		".5",
		"+1",
		"nul",
		'"a',
		'"\t"',
		String.raw`"\x"`,
		"[1] 2",
		"NaN",
		'{"a":1,}',
		"9007199254740992",
		'{"a":1,"a":2}',
		String.raw`{"a":1,"\u0061":2}`,
		String.raw`"\ud800"`,
		String.raw`"\udc00\ud800"`,
		'{"__proto__":1,"__proto__":2}',
	])("refuses %s", (text) => {
		expect(() => parse(utf8(text), 1000)).toThrow();
	});
	it("bounds depth and size", () => {
		expect(() => parse(utf8("[".repeat(40)), 1000)).toThrow(/nests/);
		expect(() => parse(utf8("[1,2,3]"), 3)).toThrow(/longer/);
	});
});

it("base64 has one spelling", () => {
	expect(fromBase64("AA==")).toEqual(Uint8Array.of(0));
	for (const odd of ["AA", "AB==", "A A=", "AA==\n", "_w=="]) expect(fromBase64(odd), odd).toBeNull();
	for (const odd of ["AA==", "AB", "A", "+w"]) expect(fromBase64Url(odd), odd).toBeNull();
});

describe("the event stream", () => {
	const text = utf8(': placet\n\nid: 1\nevent: ended\ndata: {"index":1,"x":"é"}\n\n:\n\nid: 2\ndata: {"index":2}\n\n');
	it("comes out the same, however it is cut", () => {
		for (let cut = 0; cut <= text.length; cut += 1) {
			const parser = new Parser();
			const found = [...parser.push(text.slice(0, cut)), ...parser.push(text.slice(cut))];
			expect(found).toEqual(['{"index":1,"x":"é"}', '{"index":2}']);
		}
	});
});

describe("meters", () => {
	const reading = (at: number, text: string) => ({ at, samples: parseMetrics(text) });
	const histogram = (a: number, b: number, c: number) =>
		`x_bucket{le="0.1"} ${a}\nx_bucket{le="1"} ${b}\nx_bucket{le="+Inf"} ${c}\nplacet_decisions_total{outcome="deny",code="a"} ${a}\n`;
	const [before, after] = [reading(0, `# HELP x y\n${histogram(1, 2, 3)}`), reading(10_000, histogram(11, 22, 23))];
	it("give sums, rates and quantiles of what came between", () => {
		expect(sum(after, "placet_decisions_total", { outcome: "deny" })).toBe(11);
		expect(rate(before, after, "placet_decisions_total")).toBe(1);
		expect(rate(after, before, "placet_decisions_total")).toBeNull();
		expect(quantile(0.5, before, after, "x")).toBe(0.1);
		expect(quantile(0.99, before, after, "x")).toBe(1);
		expect(quantile(0.5, after, after, "x")).toBeNull();
	});
	it("are alerted on by the same rules as in the file for Prometheus", () => {
		const file = readFileSync("monitoring/placet.rules.yml", "utf8");
		const named = [...file.matchAll(/alert: (\w+)[\s\S]*?severity: (\w+)[\s\S]*?summary: "(.*)"/g)].map((found) =>
			found.slice(1, 4),
		);
		expect(named).toEqual(RULES.map((rule) => [rule.name, rule.severity, rule.says]));
	});
	it("fire when they should, and not otherwise", () => {
		const calm = reading(0, "placet_ready 1\nplacet_writing 1\nplacet_halted 0\n");
		expect(RULES.filter((rule) => rule.fires(calm, calm)).map((rule) => rule.name)).toEqual([]);
		const ill = reading(
			1000,
			'placet_ready 0\nplacet_writing 0\nplacet_halted 1\nplacet_queue_waiting{lane="intent"} 600\n',
		);
		const names = RULES.filter((rule) => rule.fires(calm, ill)).map((rule) => rule.name);
		expect(names).toEqual(["PlacetNotReady", "PlacetLogNotWritten", "PlacetHalted", "PlacetQueueDeep"]);
	});
});

describe("the strip of the lineage", () => {
	const day = Date.UTC(2026, 10, 27);
	const placed = (times: number[]) =>
		placeAll(
			times.map(
				(time, index) => ({ exec: `exec_${index}`, decided: { index, time }, status: "denied" }) as unknown as Node,
			),
		);
	it("is measured in time: a place is a moment, and a moment leads to who was decided from then on", () => {
		const axis = axisOf(placed([day, day + 1000, day + 1000, day + 60_000]), true);
		expect(valueAt(axis, 0, 600)).toBe(day);
		expect(valueAt(axis, 300, 600)).toBe(day + 30_000);
		expect(valueAt(axis, 9999, 600)).toBe(day + 60_000);
		expect([day, day + 1, day + 1000, day + 1001, day + 60_001].map((time) => rankAt(axis, time))).toEqual([
			0, 1, 1, 3, 4,
		]);
	});
	it.each([
		[1, "11-27 00:00:00"],
		[90, "11-27 00:00:00"],
		[86_400, "11-27 00:00"],
		[86_400 * 40, undefined],
		[86_400 * 4000, undefined],
	])("has labels that stand apart, over %i seconds", (secs, first) => {
		const axis = axisOf(placed([day, day + secs * 1000]), true);
		for (const width of [300, 1100]) {
			const found = ticks(axis, width);
			if (first) expect(found[0]?.text).toBe(first);
			expect(found.length).toBeGreaterThan(0);
			expect(found.length).toBeLessThanOrEqual(Math.floor(width / 84) + 1);
			expect(new Set(found.map(({ text }) => text)).size).toBe(found.length);
		}
	});
	it("has the records' numbers for who sees no times", () => {
		const axis = axisOf(placed([0, 0, 0, 0, 0]), false);
		expect(ticks(axis, 600).map(({ text }) => text)).toEqual([
			"record 0",
			"record 1",
			"record 2",
			"record 3",
			"record 4",
		]);
		expect(rankAt(axis, 3)).toBe(3);
	});
});

describe("lanes", () => {
	const node = (index: number, parent: string | null, ended: number | null, status = "completed") =>
		({
			exec: `exec_${index}`,
			parent,
			status,
			decided: { index, time: index },
			principal: "a:b",
			ended: ended === null ? null : { at: { index: ended, time: ended } },
		}) as unknown as Node;
	it("keep what is open at the same time apart, and children below their parents", () => {
		const placed = placeAll([
			node(3, "exec_1", null),
			node(1, null, 20),
			node(2, null, 5),
			node(9, null, 12),
			node(6, "exec_3", 8),
		]);
		expect(placed.map((one) => one.node.decided.index)).toEqual([1, 2, 3, 6, 9]);
		for (const a of placed) {
			for (const b of placed) {
				const meet = a !== b && a.lane === b.lane && a.from < (b.to ?? 99) && b.from < (a.to ?? 99);
				expect(meet).toBe(false);
			}
			if (a.parent) expect(a.lane).toBeGreaterThan(a.parent.lane);
		}
		const deep = placed.find((one) => one.node.decided.index === 6);
		expect(deep && ancestors(deep).map((one) => one.node.exec)).toEqual(["exec_3", "exec_1"]);
		expect(placed[0] && descendants(placed[0]).map((one) => one.node.exec)).toEqual(["exec_3", "exec_6"]);
	});
});

it("times and sizes are said as people say them", () => {
	expect([duration(0), duration(300), duration(61_000), duration(3_600_000), duration(90_061_000)]).toEqual([
		"0 s",
		"300 ms",
		"1 min 1 s",
		"1 h",
		"1 d 1 h",
	]);
	expect([ago(0, 500), ago(0, 5000), ago(60_000, 0)]).toEqual(["just now", "5 s ago", "in 1 min"]);
	expect([bytes(0), bytes(1536), bytes(5 << 20)]).toEqual(["0 B", "1.5 KiB", "5.0 MiB"]);
});

it("arguments are spelled so that nothing in them hides", () => {
	expect(spelled(["git", "commit", "-m", "it's a b", ""])).toBe(String.raw`git commit -m 'it'\''s a b' ''`);
	expect(spelled(["sh", "-c", "rm -rf *; echo \u202egnp\n"])).toBe(String.raw`sh -c $'rm -rf *; echo \u202egnp\n'`);
	expect(spelled(["a\u00a0b", "\x1b[2J", "é", "日本"])).toBe(String.raw`$'a\u00a0b' $'\x1b[2J' 'é' '日本'`);
});

describe("the steps of a scene", () => {
	const record = (index: number, kind: string, record: object) => ({
		index,
		kind,
		time: 0,
		exec: null,
		record: { ...record },
	});
	const decided = (more: object) =>
		record(1, "decided", {
			outcome: "permit",
			policy: { determining: ["p"] },
			intent: { principal: "agent:a" },
			facts: { environment: { tier: "U1" } },
			grant: { profile: "w" },
			...more,
		});
	const states = (...records: ReturnType<typeof record>[]) => steps(records).map((step) => step.state);
	it("stop where it was stopped", () => {
		expect(states()).toEqual(["waits", "waits", "waits", "waits"]);
		const denial = (check: number) => ({ outcome: "deny", denial: { check, code: "c", reason: "r" } });
		expect(states(decided(denial(4)))).toEqual(["fails", "waits", "waits", "waits"]);
		expect(states(decided(denial(8)))).toEqual(["holds", "fails", "waits", "waits"]);
		const started = record(2, "started", {});
		expect(states(decided({}), started)).toEqual(["holds", "holds", "waits", "waits"]);
		const end = (outcome: string) => record(3, "ended", { outcome, cause: "revoked" });
		expect(states(decided({}), started, end("completed"))).toEqual(["holds", "holds", "holds", "waits"]);
		expect(states(decided({}), started, end("terminated"))[2]).toBe("stopped");
		const refused = record(4, "refused", { denial: { code: "replayed", reason: "r" } });
		expect(states(decided({}), refused)[0]).toBe("fails");
	});
});

describe("what differs between two texts", () => {
	const said = (before: string, after: string) => diffLines(before, after).map(({ sign, text }) => `${sign}${text}`);
	it("is the fewest lines", () => {
		expect(said("a\nb\nc\n", "a\nb\nc\n")).toEqual([" a", " b", " c"]);
		expect(said("a\nb\nc\n", "a\nc\nd\n")).toEqual([" a", "-b", " c", "+d"]);
		expect(said("", "a\n")).toEqual(["+a"]);
		expect(said("a\n", "")).toEqual(["-a"]);
		expect(said("a\nb\na\nb\n", "b\na\nb\na\n")).toEqual(["-a", " b", " a", " b", "+a"]);
	});
	it("gives both texts back, whatever they are", () => {
		let seed = 7;
		const random = (most: number) => {
			seed = (seed * 48271) % 2147483647;
			return seed % most;
		};
		for (let round = 0; round < 200; round += 1) {
			const text = () => Array.from({ length: random(12) }, () => "abc"[random(3)]).join("\n");
			const [before, after] = [text(), text()];
			const lines = diffLines(before, after);
			const side = (sign: string) => lines.filter((line) => line.sign !== sign).map(({ text }) => text);
			expect(side("+").join("\n")).toBe(before);
			expect(side("-").join("\n")).toBe(after);
		}
	});
	it("is shown with what stands around it", () => {
		const many = Array.from({ length: 20 }, (_, at) => `${at}`).join("\n");
		const lines = excerpt(diffLines(many, many.replace("\n10\n", "\nten\n")), 1);
		expect(lines.map((line) => (line ? `${line.sign}${line.text}` : null))).toEqual([
			null,
			" 9",
			"-10",
			"+ten",
			" 11",
			null,
		]);
	});
});

describe("a bundle that is offered", () => {
	const file = (path: string, text: string) =>
		Object.defineProperty(new File([text], path.split("/").at(-1) ?? ""), "webkitRelativePath", { value: path });
	it("is its files below the directory, in the single-file form", async () => {
		const files = [file("b/policies/a.cedar", "permit;"), file("b/bundle.toml", "x"), file("b/.git/config", "y")];
		const { archive, members } = await fromFiles(files);
		expect(archive).toBe('{"members":{"bundle.toml":"x","policies/a.cedar":"permit;"}}');
		expect(Object.keys(members)).toEqual(["policies/a.cedar", "bundle.toml"]);
		expect(fromArchive(archive).members).toEqual(members);
		const signed = await fromFiles([...files, file("b/bundle.sig", "s")]);
		expect(signed.archive).toContain('"signature":"s"');
	});
	it("is none without bundle.toml, or of another shape", async () => {
		await expect(fromFiles([file("b/a.cedar", "x")])).rejects.toThrow("bundle.toml");
		for (const text of ["", "{}", '{"members":{}}', '{"members":{"a":1}}']) expect(() => fromArchive(text)).toThrow();
	});
});
