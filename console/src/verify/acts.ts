/** Records of acts: what people did to the domain, its policy, and what runs. */

import * as is from "./shapes";
import { type Check, either, listOf, object, oneOf } from "./shapes";

/** Who, and when. */
const act = { by: is.principal, time: is.whole };
/** The same, where the decision that allowed it may be named. */
const governed = { ...act, "decided_by?": is.exec };

const selector = either(
	{
		artifact: is.exec,
		execution: is.exec,
		group: is.text,
		node: is.digest,
		policy: is.text,
		principal: is.principal,
		subtree: is.exec,
	},
	["everything"],
);

const secret = either({ removed: is.secret, renewed: object({ exec: is.exec, name: is.secret }), set: is.secret }, [
	"rekeyed",
]);

const bundle = object({
	digest: is.digest,
	name: is.text,
	revision: is.whole,
	signers: listOf(is.keyId),
});

export const ACTS: { [kind: string]: Check } = {
	approval: object({
		...act,
		exec: is.exec,
		intent: is.digest,
		key: is.key,
		reason: is.text,
		signature: is.signature,
		verdict: oneOf("approve", "reject"),
	}),
	changes: object({
		...act,
		act: oneOf("applied", "undone", "discarded"),
		"changes?": is.digest,
		count: is.whole,
		exec: is.exec,
		"selection?": is.digest,
	}),
	definition: object({ ...governed, digest: is.digest, id: is.text, kind: is.text, reason: is.text }),
	erased: object({ ...governed, index: is.whole, reason: is.text }),
	halted: object({ ...act, reason: is.text }),
	policy: object({
		...governed,
		bundle: is.digest,
		"governs?": is.flag,
		name: is.text,
		revision: is.whole,
		signers: listOf(is.keyId),
	}),
	principal: object({
		...governed,
		acts_for: listOf(is.principal),
		groups: listOf(is.text),
		id: is.principal,
		"keys?": listOf(is.commitment, 1),
		status: oneOf("active", "suspended"),
		uids: listOf(is.u32),
	}),
	resumed: object({ ...governed, "node?": is.digest, reason: is.text }),
	revoked: object({ ...act, reason: is.text, selector }),
	secret: object({ ...governed, change: secret, version: is.whole }),
	shadow: object({ ...act, "bundle?": bundle, reason: is.text }),
};
