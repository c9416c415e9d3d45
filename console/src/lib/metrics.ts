/** Meters as the node writes them for Prometheus, and what follows from two readings of them. */

export interface Sample {
	name: string;
	labels: { [label: string]: string };
	value: number;
}
export interface Reading {
	at: number;
	samples: Sample[];
}

export function parseMetrics(text: string): Sample[] {
	return text.split("\n").flatMap((line) => {
		const found = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
		if (!found) return [];
		const labels: Sample["labels"] = {};
		for (const [, name, value] of (found[2] ?? "").matchAll(/(\w+)="([^"]*)"/g))
			labels[name as string] = value as string;
		return [{ name: found[1] as string, labels, value: Number(found[3]) }];
	});
}

const fits = (sample: Sample, labels: Sample["labels"]) =>
	Object.entries(labels).every(([name, value]) => sample.labels[name] === value);

/** The sum of the samples of this name and these labels. */
export function sum(reading: Reading, name: string, labels: Sample["labels"] = {}): number {
	let total = 0;
	for (const sample of reading.samples) if (sample.name === name && fits(sample, labels)) total += sample.value;
	return total;
}

/** How much a counter grew per second between two readings. A counter that began anew says nothing. */
export function rate(before: Reading, after: Reading, name: string, labels: Sample["labels"] = {}): number | null {
	const secs = (after.at - before.at) / 1000;
	const grown = sum(after, name, labels) - sum(before, name, labels);
	return secs > 0 && grown >= 0 ? grown / secs : null;
}

/** The quantile of what a histogram counted between two readings, in seconds: the end of its bucket. */
export function quantile(
	q: number,
	before: Reading,
	after: Reading,
	name: string,
	labels: Sample["labels"] = {},
): number | null {
	const buckets = after.samples
		.filter((sample) => sample.name === `${name}_bucket` && fits(sample, labels))
		.map((sample) => {
			const own = { ...labels, le: sample.labels["le"] as string };
			return {
				end: Number(own.le.replace("+Inf", "Infinity")),
				grown: sample.value - sum(before, `${name}_bucket`, own),
			};
		})
		.sort((a, b) => a.end - b.end);
	const total = buckets.at(-1)?.grown ?? 0;
	if (total <= 0) return null;
	return buckets.find((bucket) => bucket.grown >= q * total)?.end ?? null;
}

/** What is alerted on: the same rules stand in monitoring/placet.rules.yml for Prometheus. */
export interface Rule {
	name: string;
	severity: "page" | "ticket";
	says: string;
	/** Whether it fires, by the first and the last reading of the last five minutes. */
	fires(before: Reading, after: Reading): boolean;
}

export const RULES: Rule[] = [
	{
		name: "PlacetNotReady",
		severity: "page",
		says: "Intents are not decided.",
		fires: (_, after) => sum(after, "placet_ready") === 0,
	},
	{
		name: "PlacetLogNotWritten",
		severity: "page",
		says: "The log is not written: nothing can be permitted or started.",
		fires: (_, after) => sum(after, "placet_writing") === 0,
	},
	{
		name: "PlacetLogAmiss",
		severity: "page",
		says: "A check of the log found something amiss.",
		fires: (_, after) => after.samples.some((sample) => sample.name === "placet_check_sound" && sample.value === 0),
	},
	{
		name: "PlacetCheckOverdue",
		severity: "ticket",
		says: "A check of the log is overdue by six hours.",
		fires: (_, after) =>
			after.samples.some(
				(sample) => sample.name === "placet_check_due_seconds" && after.at / 1000 - sample.value > 6 * 3600,
			),
	},
	{
		name: "PlacetHalted",
		severity: "ticket",
		says: "An operator halted the domain.",
		fires: (_, after) => sum(after, "placet_halted") === 1,
	},
	{
		name: "PlacetSlowAppend",
		severity: "ticket",
		says: "The 99th percentile of an append is above 250 ms.",
		fires: (before, after) => (quantile(0.99, before, after, "placet_append_seconds") ?? 0) > 0.25,
	},
	{
		name: "PlacetQueueDeep",
		severity: "ticket",
		says: "More than 512 intents wait for the sequencer.",
		fires: (_, after) => sum(after, "placet_queue_waiting", { lane: "intent" }) > 512,
	},
	{
		name: "PlacetManyDenials",
		severity: "ticket",
		says: "More than half of at least one decision a second are denials.",
		fires: (before, after) => {
			const all = rate(before, after, "placet_decisions_total") ?? 0;
			return all >= 1 && (rate(before, after, "placet_decisions_total", { outcome: "deny" }) ?? 0) > all / 2;
		},
	},
	{
		name: "PlacetOverloaded",
		severity: "ticket",
		says: "Connections are refused because there are too many.",
		fires: (before, after) => (rate(before, after, "placet_http_connections_refused_total") ?? 0) > 0,
	},
];
