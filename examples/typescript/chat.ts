// A chat with the official SDK.   npm install openai && LANYARD_KEY=sk-… node examples/typescript/chat.ts "Say hello."
import OpenAI from 'openai';

const url = process.env['LANYARD_URL'] ?? 'http://localhost:4000';
const apiKey = process.env['LANYARD_KEY'] ?? process.env['LITELLM_MASTER_KEY'];
if (!apiKey) throw new Error('Set LANYARD_KEY.');
const [question = 'Say hello.'] = process.argv.slice(2);

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey });

try {
  // The first model this key may use, or the one you name.
  const model = process.env['LANYARD_MODEL'] ?? (await client.models.list()).data[0]?.id ?? 'demo';
  const answer = await client.chat.completions.create({ model, messages: [{ role: 'user', content: question }] });
  console.log(answer.choices[0]?.message.content);
} catch (error) {
  // A connection that fails has its reason within: nobody there, a certificate that is not trusted, …
  for (let why = error; why instanceof Error; why = why.cause) console.error(`Lanyard: ${why.message}`);
  process.exitCode = 1;
}
