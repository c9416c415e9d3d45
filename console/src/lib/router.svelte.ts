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

export const place: { at: Place } = $state({ at: read() });

/** Looks at the address again. */
export function moved(): void {
	place.at = read();
}

addEventListener("hashchange", moved);

export function href(view: string, ...rest: (string | number)[]): string {
	return `#/${[view, ...rest].map(String).map(encodeURIComponent).join("/")}`;
}

/** Puts filters into the address without a new place in the history. */
export function setFilters(filters: Record<string, string>): void {
	const kept = Object.entries(filters).filter(([, value]) => value !== "");
	const search = new URLSearchParams(kept).toString();
	const [path] = location.hash.split("?");
	history.replaceState(null, "", `${path || "#/"}${search ? `?${search}` : ""}`);
	place.at = read();
}
