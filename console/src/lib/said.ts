/** Texts for people: times, sizes, names, what a record says. */

const UNITS: [number, string][] = [
	[86_400, "d"],
	[3_600, "h"],
	[60, "min"],
	[1, "s"],
];

export function duration(ms: number): string {
	const secs = Math.max(0, Math.floor(ms / 1000));
	const at = UNITS.findIndex(([size]) => secs >= size);
	if (at < 0) return ms > 0 ? `${Math.round(ms)} ms` : "0 s";
	const [size, unit] = UNITS[at] as [number, string];
	const whole = `${Math.floor(secs / size)} ${unit}`;
	const next = UNITS[at + 1];
	const rest = next ? Math.floor((secs % size) / next[0]) : 0;
	return next && rest > 0 ? `${whole} ${rest} ${next[1]}` : whole;
}

export function ago(time: number, now: number): string {
	const ms = now - time;
	if (ms < 0) return `in ${duration(-ms)}`;
	return ms < 2000 ? "just now" : `${duration(ms)} ago`;
}

export const exact = (time: number): string => new Date(time).toISOString().replace("T", " ");
/** The time of day, as the exact times say it: in UTC. */
export const clockTime = (time: number): string => exact(time).slice(11, 19);
export const count = (number: number): string => number.toLocaleString("en-US");

export function bytes(size: number): string {
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let [value, at] = [size, 0];
	while (value >= 1024 && at < units.length - 1) [value, at] = [value / 1024, at + 1];
	return `${value >= 10 || at === 0 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

/** The beginning of an id is enough to tell it from others on a page. */
export const short = (id: string): string =>
	/^(exec|art)_/.test(id) ? `${id.slice(0, 13)}…` : id.startsWith("sha256:") ? `${id.slice(0, 15)}…` : id;
/** Filters for risk: the least that is shown. */
export const RISKS = [
	["1", "any factor of risk"],
	["25", "risk 25 or more"],
	["50", "risk 50 or more"],
	["75", "risk 75 or more"],
] as const;
export const base = (path: string): string => path.split("/").at(-1) || path;

/**
 * Arguments as a shell would take them: where one ends and the next begins can be seen, and so can characters
 * that would hide or turn around what stands beside them.
 */
export const spelled = (argv: string[]): string => argv.map(argument).join(" ");

function argument(text: string): string {
	if (/^[\w@%+=:,./-]+$/.test(text)) return text;
	if (!/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(text)) return `'${text.replaceAll("'", String.raw`'\''`)}'`;
	const escaped = text.replace(/[\\']|[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, (char) => {
		if (char === "\\" || char === "'") return `\\${char}`;
		const code = char.codePointAt(0) ?? 0;
		const named = { 9: "t", 10: "n", 13: "r" }[code];
		if (named) return `\\${named}`;
		return code < 0x80 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
	});
	return `$'${escaped}'`;
}

/** What a record says, in a few words. */
export function said(kind: string, record: { [member: string]: unknown }): string {
	const of = (name: string): { [member: string]: unknown } => (record[name] ?? {}) as { [member: string]: unknown };
	const intent = of("intent");
	const resource = (intent["resource"] ?? {}) as { id?: string };
	switch (kind) {
		case "decided": {
			const who = `${intent["principal"]} · ${base(resource.id ?? "")}`;
			const denial = of("denial");
			if (record["outcome"] === "deny") return `denied ${who}: ${denial["code"]}`;
			return record["outcome"] === "defer" ? `waits for approval: ${who}` : `permitted ${who}`;
		}
		case "ended":
			return `${record["outcome"]}${record["cause"] ? `: ${record["cause"]}` : ""}`;
		case "started":
			return `started by gateway ${record["gateway"]}`;
		case "signal":
			return `${record["code"]}: ${record["detail"]}`;
		case "revoked":
			return `${Object.entries(of("selector")).map(([what, which]) => `${what} ${which}`)} by ${record["by"]}: ${record["reason"]}`;
		case "halted":
		case "resumed":
			return `by ${record["by"]}: ${record["reason"]}`;
		case "principal":
			return `${record["id"]} is ${record["status"]}`;
		case "policy":
			return `${record["name"]} revision ${record["revision"]} is in force`;
		case "refused":
			return `${of("denial")["code"]}: ${of("denial")["reason"]}`;
		case "approval":
			return `${record["verdict"]} by ${record["by"]}`;
		case "genesis":
			return `the domain ${record["domain"]} begins`;
		default:
			return record["by"] ? `by ${record["by"]}` : "";
	}
}
