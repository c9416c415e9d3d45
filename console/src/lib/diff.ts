/** What differs between two texts, line by line. */

export interface Line {
	/** `+` only in the new text, `-` only in the old one, a space in both. */
	sign: "+" | "-" | " ";
	text: string;
}

/** Most lines of a middle that are compared with each other; beyond, all of the old is replaced. */
const MIDDLE_MAX = 1500;

/** The shortest way from one text to the other, by the longest lines that they have in common. */
export function diffLines(before: string, after: string): Line[] {
	const [old, fresh] = [split(before), split(after)];
	let start = 0;
	while (start < Math.min(old.length, fresh.length) && old[start] === fresh[start]) start += 1;
	let end = 0;
	while (end < Math.min(old.length, fresh.length) - start && old.at(-1 - end) === fresh.at(-1 - end)) end += 1;
	const same = (text: string): Line => ({ sign: " ", text });
	return [
		...old.slice(0, start).map(same),
		...middle(old.slice(start, old.length - end), fresh.slice(start, fresh.length - end)),
		...old.slice(old.length - end).map(same),
	];
}

const split = (text: string): string[] => (text === "" ? [] : text.replace(/\n$/, "").split("\n"));

function middle(old: string[], fresh: string[]): Line[] {
	if (Math.max(old.length, fresh.length) > MIDDLE_MAX) {
		return [...old.map((text): Line => ({ sign: "-", text })), ...fresh.map((text): Line => ({ sign: "+", text }))];
	}
	// Lengths of the longest common subsequence of what is left from each place on.
	const wide = fresh.length + 1;
	const common = new Uint16Array((old.length + 1) * wide);
	for (let at = old.length - 1; at >= 0; at -= 1) {
		for (let to = fresh.length - 1; to >= 0; to -= 1) {
			const down = common[(at + 1) * wide + to] ?? 0;
			const right = common[at * wide + to + 1] ?? 0;
			common[at * wide + to] =
				old[at] === fresh[to] ? (common[(at + 1) * wide + to + 1] ?? 0) + 1 : Math.max(down, right);
		}
	}
	const lines: Line[] = [];
	let [at, to] = [0, 0];
	while (at < old.length || to < fresh.length) {
		const [gone, come] = [old[at], fresh[to]];
		if (gone !== undefined && gone === come) {
			lines.push({ sign: " ", text: gone });
			at += 1;
			to += 1;
		} else if (
			come === undefined ||
			(gone !== undefined && (common[(at + 1) * wide + to] ?? 0) >= (common[at * wide + to + 1] ?? 0))
		) {
			lines.push({ sign: "-", text: gone ?? "" });
			at += 1;
		} else {
			lines.push({ sign: "+", text: come });
			to += 1;
		}
	}
	return lines;
}

/** The lines that differ, each with a few around it; `null` stands for lines that were left out. */
export function excerpt(lines: Line[], around = 3): (Line | null)[] {
	const near = new Set<number>();
	lines.forEach((line, at) => {
		if (line.sign !== " ") for (let by = -around; by <= around; by += 1) near.add(at + by);
	});
	const shown: (Line | null)[] = [];
	lines.forEach((line, at) => {
		if (near.has(at)) shown.push(line);
		else if (shown.at(-1) !== null) shown.push(null);
	});
	return shown;
}
