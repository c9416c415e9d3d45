// Verifies artifacts with npm's jose: prints the claims of each text, or null where jose refused it.
// The first argument is the path of the installed module.

import { pathToFileURL } from "node:url";

const jose = await import(pathToFileURL(process.argv[2]).href);
const question = JSON.parse(process.env.PLACET_QUESTION);
const key = await jose.importJWK(question.jwk, "EdDSA");

const thumbprint = await jose.calculateJwkThumbprint(question.jwk);
if (thumbprint !== question.thumbprint) {
  throw new Error(`jose's thumbprint of the key is ${thumbprint}`);
}

async function answer(text) {
  try {
    const { payload } = await jose.jwtVerify(text, key, {
      algorithms: ["EdDSA"],
      audience: question.audience,
      issuer: question.issuer,
      typ: question.typ,
      currentDate: new Date(question.now * 1000),
    });
    return payload;
  } catch (error) {
    if (error instanceof jose.errors.JOSEError) return null;
    throw error;
  }
}

console.log(JSON.stringify(await Promise.all(question.texts.map(answer))));
