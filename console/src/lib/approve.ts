/** Approvals, signed in the browser: what is signed is what `placet approve` signs. */

import { commitment } from "../verify/artifact";
import { digest, fromBase64Url, toBase64, utf8 } from "../verify/bytes";
import { canonical, type Json, parse } from "../verify/json";
import { pae } from "../verify/record";
import { type Approval, browserKey, post } from "./api";

export type Verdict = "approve" | "reject";

/**
 * The bytes that are signed. The digest is computed here from the intent that is shown, and must be the
 * one that the node names: nobody signs for another intent than the one on the screen.
 */
export function statement(approval: Approval, by: string, verdict: Verdict, reason: string): Uint8Array {
	if (verdict === "approve" && !opens(approval))
		throw new Error("the parameters that are shown are not those of the intent");
	const intent = digest(utf8(canonical(approval.intent as unknown as Json)));
	if (intent !== approval.sign.intent) throw new Error("the node names another intent than it shows");
	const { domain, payload_type } = approval.sign;
	return pae(payload_type, utf8(canonical({ by, domain, intent, reason, verdict })));
}

/**
 * Whether the parameters that are shown are those that the intent commits to. The commitment is opened
 * here, with the salt, so a node that shows other arguments than it would run is found out.
 */
export function opens(approval: Approval): boolean {
	const { opening, params } = approval;
	const intent = approval.intent as unknown as { action: string; params: string };
	const salt = opening ? fromBase64Url(opening.salt) : null;
	if (!opening || !params || !salt) return false;
	const bytes = utf8(opening.params);
	const same = canonical(parse(bytes, bytes.length)) === canonical(params as unknown as Json);
	return same && commitment(intent.action, bytes, salt) === intent.params;
}

export async function say(approval: Approval, by: string, verdict: Verdict, reason: string): Promise<unknown> {
	const key = await browserKey();
	const signature = toBase64(await key.sign(statement(approval, by, verdict, reason)));
	const body = { by, key: toBase64(key.publicKey), reason, signature, verdict };
	return post(`/v1/approvals/${approval.exec}`, body);
}
