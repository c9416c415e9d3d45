// A client for the conformance suite's own servers, directly or through a gateway's command.
import { writeFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';

const url = process.argv.at(-1);
const [config, command, ...args] = process.argv.slice(2, -1);
let transport = new StreamableHTTPClientTransport(new URL(url));
if (command) {
  writeFileSync(config, JSON.stringify({ mcpServers: { suite: { type: 'http', url } } }));
  transport = new StdioClientTransport({ command, args, env: process.env });
}
const elicitation = { form: { applyDefaults: true } };
const client = new Client({ name: 'test', version: '1' }, { capabilities: { elicitation } });
client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: {} }));
await client.connect(transport);
const { tools } = await client.listTools();
for (const { name } of tools) {
  await client.callTool({ name, arguments: name === 'add_numbers' ? { a: 5, b: 3 } : {} });
}
await client.close();
