/** Where we are: the part of the address after `#/`, and the filters after `?`. */

export interface Place {
	view: string;
	rest: string[];
	filters: URLSearchParams;
}

function read(): Place {
	const hash = location.hash.startsWith("#/") ? location.hash.slice(2) : "";
	const [path = "", search = ""] = hash.split("?");
	const [view = "", ...rest] = path.split("/").map(decodeURIComponent);
	return { view: view || "now", rest, filters: new URLSearchParams(search) };
}

/** `visit` counts up whenever somebody goes somewhere, by a link or by the browser's buttons. */
export const place: { at: Place; visit: number } = $state({ at: read(), visit: 0 });

/** Looks at the address again. */
export function moved(): void {
	place.at = read();
	place.visit += 1;
}

addEventListener("hashchange", moved);

export function href(view: string, ...rest: (string | number)[]): string {
	return `#/${[view, ...rest].map(String).map(encodeURIComponent).join("/")}`;
}

/** The address of a list, with those filters that say something. */
export function listing(view: string, filters: Record<string, string | number | undefined>): string {
	const kept = Object.entries(filters).filter(([, value]) => value !== undefined && value !== "");
	const search = new URLSearchParams(kept.map(([name, value]) => [name, String(value)])).toString();
	return `#/${view}${search ? `?${search}` : ""}`;
}

/** Where a profile of the bundle in force is written down. */
export const profileAt = (name: string): string => listing("policy", { file: `profiles/${name}.toml` });

/** The filters of the address, by these names. */
export const filtersOf = <Name extends string>(...names: Name[]): Record<Name, string> =>
	Object.fromEntries(names.map((name) => [name, place.at.filters.get(name) ?? ""])) as Record<Name, string>;

/** Puts filters into the address without a new place in the history. */
export function setFilters(filters: Record<string, string>): void {
	const kept = Object.entries(filters).filter(([, value]) => value !== "");
	const search = new URLSearchParams(kept).toString();
	const [path] = location.hash.split("?");
	history.replaceState(null, "", `${path || "#/"}${search ? `?${search}` : ""}`);
	place.at = read();
}
