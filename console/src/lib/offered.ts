/** A bundle that somebody offers: made of the files of a directory, or of its single-file form. */

import { canonical, type Json } from "../verify/json";

/** Longest bundle that is read here, in bytes; the node has a bound of its own. */
const BYTES_MAX = 4 << 20;
const SIGNATURE = "bundle.sig";

export interface Offered {
	/** The single-file form, spec/policy.md. */
	archive: string;
	members: { [path: string]: string };
}

/** Why files are no bundle that can be sent. */
export class NoBundle extends Error {}

export function fromArchive(archive: string): Offered {
	try {
		const { members } = JSON.parse(archive) as { members: Offered["members"] };
		const texts = Object.values(members);
		if (texts.length > 0 && texts.every((text) => typeof text === "string")) return { archive, members };
	} catch {
		// Said below.
	}
	throw new NoBundle("That file is no bundle in its single-file form.");
}

/** Paths are those below the directory that was chosen; hidden files are none of it. */
export async function fromFiles(files: Iterable<File>): Promise<Offered> {
	const all = [...files].map((file) => ({
		file,
		path: file.webkitRelativePath.split("/").slice(1).join("/") || file.name,
	}));
	const own = all.filter(({ path }) => !path.split("/").some((part) => part.startsWith(".")));
	if (own.reduce((bytes, { file }) => bytes + file.size, 0) > BYTES_MAX)
		throw new NoBundle("That is too large for a bundle.");
	const [first] = own;
	if (own.length === 1 && first && first.path.endsWith(".json")) return fromArchive(await first.file.text());
	const members: Offered["members"] = {};
	for (const { file, path } of own) members[path] = await file.text();
	if (members["bundle.toml"] === undefined)
		throw new NoBundle("A bundle's directory holds bundle.toml; that one does not.");
	const { [SIGNATURE]: signature, ...rest } = members;
	const archive = canonical((signature === undefined ? { members: rest } : { members: rest, signature }) as Json);
	return { archive, members: rest };
}
