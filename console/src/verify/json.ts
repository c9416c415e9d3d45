/** Canonical JSON: RFC 8785 over I-JSON (RFC 7493), read strictly, as spec/evidence.md wants it. */

import { equal, refuse, text, utf8 } from "./bytes";

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
	[name: string]: Json;
}

/** An integer with this magnitude or less is exact in a double, and so are its neighbours. */
const EXACT_MAX = Number.MAX_SAFE_INTEGER;

const ESCAPES: Record<string, string> = {
	'"': '"',
	"\\": "\\",
	"/": "/",
	b: "\b",
	f: "\f",
	n: "\n",
	r: "\r",
	t: "\t",
};

class Reader {
	private at = 0;

	constructor(
		private readonly source: string,
		private readonly depthMax: number,
	) {}

	whole(): Json {
		this.space();
		const value = this.value(0);
		this.space();
		if (this.at !== this.source.length) this.syntax();
		return value;
	}

	private syntax(): never {
		return refuse(`the text is not JSON, at character ${this.at}`);
	}

	private space(): void {
		while (" \t\n\r".includes(this.source[this.at] ?? "x")) this.at += 1;
	}

	private take(char: string): boolean {
		if (this.source[this.at] !== char) return false;
		this.at += 1;
		return true;
	}

	private expect(char: string): void {
		if (!this.take(char)) this.syntax();
	}

	private word<T extends Json>(word: string, value: T): T {
		if (!this.source.startsWith(word, this.at)) this.syntax();
		this.at += word.length;
		return value;
	}

	private value(depth: number): Json {
		switch (this.source[this.at]) {
			case "n":
				return this.word("null", null);
			case "t":
				return this.word("true", true);
			case "f":
				return this.word("false", false);
			case '"':
				return this.string();
			case "[":
				return this.array(this.deeper(depth));
			case "{":
				return this.object(this.deeper(depth));
			default:
				return this.number();
		}
	}

	private deeper(depth: number): number {
		if (depth >= this.depthMax) refuse("the text nests deeper than the bound");
		return depth + 1;
	}

	private array(depth: number): Json[] {
		this.expect("[");
		const items: Json[] = [];
		this.space();
		if (this.take("]")) return items;
		for (;;) {
			this.space();
			items.push(this.value(depth));
			this.space();
			if (this.take("]")) return items;
			this.expect(",");
		}
	}

	private object(depth: number): JsonObject {
		this.expect("{");
		const members: JsonObject = Object.create(null);
		this.space();
		if (this.take("}")) return members;
		for (;;) {
			this.space();
			const name = this.string();
			this.space();
			this.expect(":");
			this.space();
			const value = this.value(depth);
			if (Object.hasOwn(members, name)) refuse(`a member name occurs twice: ${name}`);
			members[name] = value;
			this.space();
			if (this.take("}")) return members;
			this.expect(",");
		}
	}

	private string(): string {
		this.expect('"');
		let out = "";
		for (;;) {
			const char = this.source[this.at];
			if (char === undefined || char < " ") this.syntax();
			this.at += 1;
			if (char === '"') return this.whole16(out);
			out += char === "\\" ? this.escape() : char;
		}
	}

	/** A surrogate stands in a pair or not at all. */
	private whole16(text: string): string {
		if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text)) {
			refuse("a string has a lone surrogate");
		}
		return text;
	}

	private escape(): string {
		const letter = this.source[this.at] ?? this.syntax();
		this.at += 1;
		if (letter === "u") {
			const digits = this.source.slice(this.at, this.at + 4);
			if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.syntax();
			this.at += 4;
			return String.fromCharCode(Number.parseInt(digits, 16));
		}
		return ESCAPES[letter] ?? this.syntax();
	}

	private number(): number {
		const rule = /-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
		rule.lastIndex = this.at;
		const token = rule.exec(this.source)?.[0];
		if (!token) this.syntax();
		const value = Number(token);
		if (!Number.isFinite(value) || Math.abs(value) > EXACT_MAX) {
			refuse("a number is outside the exact range of a double");
		}
		this.at += token.length;
		return value;
	}
}

/** Reads one value and nothing after it. */
export function parse(bytes: Uint8Array, bytesMax: number, depthMax = 32): Json {
	if (bytes.length > bytesMax) refuse(`the text is longer than ${bytesMax} bytes`);
	return new Reader(text(bytes), depthMax).whole();
}

/** The one canonical spelling: names by UTF-16 code units, numbers and strings as ECMAScript has them. */
export function canonical(value: Json): string {
	if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
	if (value !== null && typeof value === "object") {
		const names = Object.keys(value).sort();
		const members = names.map((name) => `${JSON.stringify(name)}:${canonical(value[name] as Json)}`);
		return `{${members.join(",")}}`;
	}
	return JSON.stringify(value);
}

/** Reads a value that must be in canonical form already. */
export function parseCanonical(bytes: Uint8Array, bytesMax: number, depthMax = 32): Json {
	const value = parse(bytes, bytesMax, depthMax);
	if (!equal(utf8(canonical(value)), bytes)) refuse("the text is not in canonical form (RFC 8785)");
	return value;
}

/** Longest entry of a log, and of what is in it. */
export const RECORD_BYTES_MAX = 65_535;

export function isObject(value: Json | undefined): value is JsonObject {
	return value !== null && typeof value === "object" && !Array.isArray(value);
}

/** An object of these members: `?` marks those that may be absent. No other is taken. */
export function members(value: Json | undefined, names: string[], what: string): JsonObject {
	if (!isObject(value)) return refuse(`${what}: an object is expected`);
	const known = names.map((name) => name.replace(/\?$/, ""));
	const unknown = Object.keys(value).find((name) => !known.includes(name));
	if (unknown !== undefined) refuse(`${what}: unknown member \`${unknown}\``);
	const missing = names.find((name) => !name.endsWith("?") && !Object.hasOwn(value, name));
	if (missing !== undefined) refuse(`${what}: no member \`${missing}\``);
	return value;
}

export function str(value: Json | undefined, what: string): string {
	return typeof value === "string" ? value : refuse(`${what}: a string is expected`);
}
