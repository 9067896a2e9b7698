// A model that calls a function of yours.   LANYARD_KEY=sk-… node examples/typescript/tools.ts "How warm is it in Oslo?"
// The SDK's `runTools` goes the rounds: it runs what the model calls, answers it, and asks again, until there is text.
import OpenAI from 'openai';

const url = process.env['LANYARD_URL'] ?? 'http://localhost:4000';
const apiKey = process.env['LANYARD_KEY'] ?? process.env['LITELLM_MASTER_KEY'];
if (!apiKey) throw new Error('Set LANYARD_KEY.');
const [question = 'How warm is it in Oslo?'] = process.argv.slice(2);

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey });
const CELSIUS: Readonly<Record<string, number>> = { Oslo: 4, Cairo: 31 };

function temperature({ city }: { city: string }): object {
  return { city, celsius: CELSIUS[city] ?? null };
}

try {
  // The first model this key may use, or the one you name; it must know tools.
  const model = process.env['LANYARD_MODEL'] ?? (await client.models.list()).data[0]?.id ?? 'demo';
  const runner = client.chat.completions.runTools(
    {
      model,
      messages: [{ role: 'user', content: question }],
      tools: [
        {
          type: 'function',
          function: {
            function: temperature,
            parse: (text: string) => JSON.parse(text) as { city: string },
            name: 'temperature',
            description: 'The temperature in a city, now.',
            parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
          },
        },
      ],
    },
    { maxChatCompletions: 5 },
  );
  console.log(await runner.finalContent());
} catch (error) {
  // A connection that fails has its reason within: nobody there, a certificate that is not trusted, …
  for (let why = error; why instanceof Error; why = why.cause) console.error(`Lanyard: ${why.message}`);
  process.exitCode = 1;
}
