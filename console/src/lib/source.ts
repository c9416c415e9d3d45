/** The source of a bundle, taken apart for reading: comments, texts, words of the language, annotations. */

export type Piece = ["comment" | "note" | "text" | "word" | "", string];

const CEDAR =
	/(?<comment>\/\/.*)|(?<text>"(?:\\.|[^"\\])*")|(?<note>@\w+)|\b(?<word>permit|forbid|when|unless|principal|action|resource|context|if|then|else|in|is|has|like|true|false)\b/g;
const TOML = /(?<comment>#.*)|(?<text>"(?:\\.|[^"\\])*"|'[^']*')|(?<note>^\s*\[.*\])|\b(?<word>true|false)\b/g;

/** The pieces of a line; all of them together are the line. */
export function pieces(path: string, line: string): Piece[] {
	const language = /\.cedar(schema)?$/.test(path) ? CEDAR : path.endsWith(".toml") ? TOML : null;
	if (!language) return [["", line || " "]];
	const found: Piece[] = [];
	let from = 0;
	for (const match of line.matchAll(language)) {
		if (match.index > from) found.push(["", line.slice(from, match.index)]);
		const [kind] = Object.entries(match.groups ?? {}).find(([, text]) => text !== undefined) ?? [""];
		found.push([kind as Piece[0], match[0]]);
		from = match.index + match[0].length;
	}
	if (from < line.length || line === "") found.push(["", line.slice(from) || " "]);
	return found;
}
