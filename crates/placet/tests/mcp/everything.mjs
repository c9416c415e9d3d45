// What the conformance suite asks for, by the TypeScript SDK: over stdio, or over HTTP on a port.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import * as types from '@modelcontextprotocol/sdk/types.js';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=';
const nothing = { type: 'object', properties: {} };
const asking = (name) => ({ type: 'object', properties: { [name]: { type: 'string' } }, required: [name] });
const later = () => new Promise((done) => setTimeout(done, 50));
const text = (text) => ({ content: [{ type: 'text', text }] });
const embedded = (uri, mimeType, text) => ({ type: 'resource', resource: { uri, mimeType, text } });
const options = ['option1', 'option2', 'option3'];
const titled = ['First', 'Second', 'Third'].map((title, at) => ({ const: `value${at + 1}`, title }));

async function elicit(extra, message, properties, required, said) {
  const params = { message, requestedSchema: { type: 'object', properties, required } };
  const schema = types.ElicitResultSchema;
  const result = await extra.sendRequest({ method: 'elicitation/create', params }, schema);
  return text(`${said} action=${result.action}, content=${JSON.stringify(result.content ?? {})}`);
}

const tools = {
  test_simple_text: [nothing, () => text('This is a simple text response for testing.')],
  test_image_content: [nothing, () => ({ content: [{ type: 'image', data: PNG, mimeType: 'image/png' }] })],
  test_audio_content: [nothing, () => ({ content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] })],
  test_embedded_resource: [nothing, () => ({
    content: [embedded('test://embedded-resource', 'text/plain', 'This is an embedded resource content.')] })],
  test_multiple_content_types: [nothing, () => ({ content: [
    { type: 'text', text: 'Multiple content types test:' },
    { type: 'image', data: PNG, mimeType: 'image/png' },
    embedded('test://mixed-content-resource', 'application/json', '{"test":"data","value":123}')] })],
  test_tool_with_logging: [nothing, async (_, extra) => {
    for (const data of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await extra.sendNotification({ method: 'notifications/message', params: { level: 'info', data } });
      await later();
    }
    return text('logged');
  }],
  test_error_handling: [nothing, () => { throw new Error('This tool intentionally returns an error for testing'); }],
  test_tool_with_progress: [nothing, async (_, extra) => {
    const progressToken = extra._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      const params = { progressToken, progress, total: 100 };
      if (progressToken !== undefined) await extra.sendNotification({ method: 'notifications/progress', params });
      await later();
    }
    return text('done');
  }],
  test_sampling: [asking('prompt'), async ({ prompt }, extra) => {
    const params = { messages: [{ role: 'user', content: { type: 'text', text: prompt } }], maxTokens: 100 };
    const schema = types.CreateMessageResultSchema;
    const result = await extra.sendRequest({ method: 'sampling/createMessage', params }, schema);
    return text(`LLM response: ${result.content.text}`);
  }],
  test_elicitation: [asking('message'), ({ message }, extra) => elicit(extra, message, {
    username: { type: 'string', description: "User's response" },
    email: { type: 'string', description: "User's email address" } }, ['username', 'email'], 'User response:')],
  test_elicitation_sep1034_defaults: [nothing, (_, extra) => elicit(extra, 'Defaults', {
    name: { type: 'string', default: 'John Doe' }, age: { type: 'integer', default: 30 },
    score: { type: 'number', default: 95.5 },
    status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
    verified: { type: 'boolean', default: true } }, [], 'Elicitation completed:')],
  test_elicitation_sep1330_enums: [nothing, (_, extra) => elicit(extra, 'Enums', {
    untitledSingle: { type: 'string', enum: options }, titledSingle: { type: 'string', oneOf: titled },
    legacyEnum: { type: 'string', enum: ['opt1', 'opt2'], enumNames: ['Option One', 'Option Two'] },
    untitledMulti: { type: 'array', items: { type: 'string', enum: options } },
    titledMulti: { type: 'array', items: { anyOf: titled } } }, [], 'Elicitation completed:')],
  json_schema_2020_12_tool: [{ $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'object',
    $defs: { address: { type: 'object', properties: { street: { type: 'string' }, city: { type: 'string' } } } },
    properties: { name: { type: 'string' }, address: { $ref: '#/$defs/address' } },
    additionalProperties: false }, () => text('ok')],
};

const prompts = {
  test_simple_prompt: [[], () => [{ type: 'text', text: 'This is a simple prompt for testing.' }]],
  test_prompt_with_arguments: [['arg1', 'arg2'], ({ arg1, arg2 }) => [
    { type: 'text', text: `Prompt with arguments: arg1='${arg1}', arg2='${arg2}'` }]],
  test_prompt_with_embedded_resource: [['resourceUri'], ({ resourceUri }) => [
    embedded(resourceUri, 'text/plain', 'Embedded resource content for testing.'),
    { type: 'text', text: 'Please process the embedded resource above.' }]],
  test_prompt_with_image: [[], () => [{ type: 'image', data: PNG, mimeType: 'image/png' },
    { type: 'text', text: 'Please analyze the image above.' }]],
};

function read(uri) {
  const id = /^test:\/\/template\/(.*)\/data$/.exec(uri)?.[1];
  if (id) {
    const data = { id, templateTest: true, data: `Data for ID: ${id}` };
    return { uri, mimeType: 'application/json', text: JSON.stringify(data) };
  }
  if (uri === 'test://static-binary') return { uri, mimeType: 'image/png', blob: PNG };
  return { uri, mimeType: 'text/plain', text: 'This is the content of the static text resource.' };
}

function made() {
  const server = new Server({ name: 'everything', version: '1' }, { capabilities: {
    tools: {}, prompts: {}, resources: { subscribe: true }, logging: {}, completions: {} } });
  const on = (schema, answer) => server.setRequestHandler(schema, answer);
  on(types.ListToolsRequestSchema, () => ({
    tools: Object.entries(tools).map(([name, [inputSchema]]) => ({ name, description: name, inputSchema })) }));
  on(types.CallToolRequestSchema, async ({ params }, extra) => {
    try {
      return await tools[params.name][1](params.arguments ?? {}, extra);
    } catch (error) {
      return { isError: true, ...text(error.message) };
    }
  });
  on(types.ListPromptsRequestSchema, () => ({ prompts: Object.entries(prompts).map(([name, [args]]) => ({
    name, description: name, arguments: args.map((name) => ({ name, description: name, required: true })) })) }));
  on(types.GetPromptRequestSchema, ({ params }) => ({
    messages: prompts[params.name][1](params.arguments ?? {}).map((content) => ({ role: 'user', content })) }));
  on(types.ListResourcesRequestSchema, () => ({ resources: ['static-text', 'static-binary', 'watched-resource']
    .map((name) => ({ uri: `test://${name}`, name, description: name })) }));
  on(types.ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: [
    { uriTemplate: 'test://template/{id}/data', name: 'template', description: 'template' }] }));
  on(types.ReadResourceRequestSchema, ({ params }) => ({ contents: [read(params.uri)] }));
  on(types.SubscribeRequestSchema, () => ({}));
  on(types.UnsubscribeRequestSchema, () => ({}));
  on(types.CompleteRequestSchema, () => ({ completion: { values: ['paris', 'park'], total: 2, hasMore: false } }));
  on(types.SetLevelRequestSchema, () => ({}));
  return server;
}

async function serve(port) {
  const sessions = new Map();
  const listener = createServer(async (request, response) => {
    let transport = sessions.get(request.headers['mcp-session-id']);
    if (!transport) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID, enableDnsRebindingProtection: true,
        allowedHosts: [`127.0.0.1:${port}`, `localhost:${port}`],
        onsessioninitialized: (id) => sessions.set(id, transport) });
      await made().connect(transport);
    }
    await transport.handleRequest(request, response);
  });
  listener.listen(port, '127.0.0.1', () => console.error('listening'));
}

// In front of a gateway: what shows its token for a client that cannot.
async function bearer(port, to, token) {
  const { request: ask } = await import('node:http');
  createServer((request, response) => {
    const headers = { ...request.headers, authorization: `Bearer ${token}` };
    const onward = ask({ host: '127.0.0.1', port: to, path: request.url, method: request.method, headers },
      (answer) => { response.writeHead(answer.statusCode, answer.headers); answer.pipe(response); });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  }).listen(port, '127.0.0.1', () => console.error('listening'));
}

const [kind, ...rest] = process.argv.slice(2);
if (kind === 'stdio') await made().connect(new StdioServerTransport());
else if (kind === 'bearer') await bearer(Number(rest[0]), Number(rest[1]), rest[2]);
else await serve(Number(rest[0]));
