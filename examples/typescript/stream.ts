// A streamed chat: each piece is printed as it comes.   LANYARD_KEY=sk-… node examples/typescript/stream.ts "Say hello."
import OpenAI from 'openai';

const url = process.env['LANYARD_URL'] ?? 'http://localhost:4000';
const apiKey = process.env['LANYARD_KEY'] ?? process.env['LITELLM_MASTER_KEY'];
if (!apiKey) throw new Error('Set LANYARD_KEY.');
const [question = 'Say hello.'] = process.argv.slice(2);

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey });

try {
  // The first model this key may use, or the one you name.
  const model = process.env['LANYARD_MODEL'] ?? (await client.models.list()).data[0]?.id ?? 'demo';
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: 'user', content: question }],
    stream: true,
  });
  for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? '');
  process.stdout.write('\n');
} catch (error) {
  // A stream that breaks off ends up here too: what was printed is then not the whole answer.
  process.stdout.write('\n');
  // A connection that fails has its reason within: nobody there, a certificate that is not trusted, …
  for (let why = error; why instanceof Error; why = why.cause) console.error(`Lanyard: ${why.message}`);
  process.exitCode = 1;
}
