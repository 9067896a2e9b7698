// A chat with nothing but fetch, whole and then streamed.   LANYARD_KEY=sk-… node examples/typescript/fetch.ts "Say hello."
const url = process.env['LANYARD_URL'] ?? 'http://localhost:4000';
const key = process.env['LANYARD_KEY'] ?? process.env['LITELLM_MASTER_KEY'];
if (!key) throw new Error('Set LANYARD_KEY.');
const [question = 'Say hello.'] = process.argv.slice(2);

interface Chunk {
  readonly choices: readonly { readonly delta: { readonly content?: string | null } }[];
  readonly error?: { readonly message: string };
}

async function ask(path: string, body?: object): Promise<Response> {
  const response = await fetch(`${url}/v1/${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: body === undefined ? null : JSON.stringify(body),
  });
  if (response.ok) return response;
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  throw new Error(`${response.status} ${error.code}: ${error.message}`);
}

/** The pieces of text, as they come. Throws where the stream tells of an error or ends without `[DONE]`. */
async function* read(response: Response): AsyncGenerator<string> {
  let rest = '';
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === 'data: [DONE]') return;
      // Others are the blank lines between events, and the comments that keep a silent stream alive.
      if (!line.startsWith('data: ')) continue;
      const { choices, error } = JSON.parse(line.slice('data: '.length)) as Chunk;
      if (error !== undefined) throw new Error(error.message);
      yield choices[0]?.delta.content ?? '';
    }
  }
  throw new Error('the stream broke off: this is not the whole answer');
}

try {
  // The first model this key may use, or the one you name.
  const { data } = (await (await ask('models')).json()) as { data: { id: string }[] };
  const chat = {
    model: process.env['LANYARD_MODEL'] ?? data[0]?.id,
    messages: [{ role: 'user', content: question }],
  };
  const whole = (await (await ask('chat/completions', chat)).json()) as {
    choices: { message: { content: string } }[];
  };
  console.log(whole.choices[0]?.message.content);

  for await (const piece of read(await ask('chat/completions', { ...chat, stream: true }))) process.stdout.write(piece);
  process.stdout.write('\n');
} catch (error) {
  // A connection that fails has its reason within: nobody there, a certificate that is not trusted, …
  for (let why = error; why instanceof Error; why = why.cause) console.error(`Lanyard: ${why.message}`);
  process.exitCode = 1;
}
