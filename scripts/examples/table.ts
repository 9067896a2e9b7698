// Every example, what runs it, and what it must show. (An example that is not here fails the run.)
import type { Scene } from './scene.ts';
import {
  answers,
  BATCH_CLIENT,
  breaksOff,
  CALLS_A_TOOL,
  CONNECTING,
  RETRIES,
  SAYS,
  SDK_RETRIES,
  SIDE_BY_SIDE,
  streams,
  WRONG_KEY,
} from './scenes.ts';
import { EMBEDDING_MODEL, MODEL } from './stage.ts';
import type { Language } from './toolchains.ts';

interface Example {
  readonly file: string;
  readonly language: Language;
  readonly scenes: readonly Scene[];
}

const ANSWERS = answers([SAYS]);
const EMBEDDING = { LANYARD_EMBEDDING_MODEL: EMBEDDING_MODEL };

export const EXAMPLES: readonly Example[] = [
  {
    file: 'examples/curl.sh',
    language: 'curl',
    scenes: [
      answers(
        [
          `"id":"${MODEL}"`,
          `a chat with ${MODEL}`,
          SAYS,
          'data: [DONE]',
          `"text":"${SAYS}"`,
          '"code":"model_not_found"',
          'curl ends with 22',
          '"embedding":[',
          `\n${SAYS}`,
        ],
        { env: () => EMBEDDING, asked: 4 },
      ),
      streams('"content":"Gr"', 1),
      WRONG_KEY,
      ...CONNECTING,
    ],
  },
  {
    file: 'examples/python/chat.py',
    language: 'python',
    scenes: [ANSWERS, SDK_RETRIES, WRONG_KEY, ...CONNECTING],
  },
  {
    file: 'examples/python/stream.py',
    language: 'python',
    scenes: [streams('Gr'), breaksOff(), WRONG_KEY],
  },
  {
    file: 'examples/python/requests_chat.py',
    language: 'python',
    scenes: [ANSWERS, WRONG_KEY, ...CONNECTING],
  },
  { file: 'examples/python/gather.py', language: 'python', scenes: [SIDE_BY_SIDE, WRONG_KEY] },
  { file: 'examples/python/retry.py', language: 'python', scenes: [...RETRIES, WRONG_KEY] },
  { file: 'examples/python/tools.py', language: 'python', scenes: [CALLS_A_TOOL, WRONG_KEY] },
  {
    file: 'examples/python/embeddings.py',
    language: 'python',
    scenes: [
      // The nearest to a text is that text.
      answers(['1.000  a key', 'a pan'], { args: ['a key', 'a pan', 'a key'], env: () => EMBEDDING, asked: 1 }),
      { title: 'no model named', ends_well: false, says: ['Set LANYARD_EMBEDDING_MODEL'], asked: 0 },
      { ...WRONG_KEY, env: (stage) => ({ ...EMBEDDING, ...WRONG_KEY.env?.(stage) }) },
    ],
  },
  { file: 'examples/python/client.py', language: 'python', scenes: BATCH_CLIENT },
  {
    file: 'examples/typescript/chat.ts',
    language: 'typescript',
    scenes: [ANSWERS, SDK_RETRIES, WRONG_KEY, ...CONNECTING],
  },
  {
    file: 'examples/typescript/stream.ts',
    language: 'typescript',
    scenes: [streams('Gr'), breaksOff(), WRONG_KEY],
  },
  {
    file: 'examples/typescript/fetch.ts',
    language: 'typescript',
    scenes: [answers([`${SAYS}\n${SAYS}\n`]), streams(`${SAYS}\nGr`, 1), breaksOff(1), WRONG_KEY, ...CONNECTING],
  },
  { file: 'examples/typescript/tools.ts', language: 'typescript', scenes: [CALLS_A_TOOL, WRONG_KEY] },
  { file: 'examples/go/chat/main.go', language: 'go', scenes: [ANSWERS, WRONG_KEY, ...CONNECTING] },
  {
    file: 'examples/go/stream/main.go',
    language: 'go',
    scenes: [streams('Gr'), breaksOff(), WRONG_KEY],
  },
  { file: 'examples/rust/src/bin/chat.rs', language: 'rust', scenes: [ANSWERS, WRONG_KEY, ...CONNECTING] },
  {
    file: 'examples/rust/src/bin/stream.rs',
    language: 'rust',
    scenes: [streams('Gr'), breaksOff(), WRONG_KEY],
  },
];
