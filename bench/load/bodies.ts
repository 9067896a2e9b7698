// Large bodies one after another over one connection, a program of its own: making and sending them must not hold up those
// who watch what they do to others.
//
//     node bench/load/bodies.ts '{"door":…,"model":"bench","bytes":20000000,"count":4,"seconds":5}'
import { connect } from 'node:net';
import type { Door } from '../gateways/gateway.ts';
import { pictureBody, requestHead } from './answers.ts';
import { nowUs } from './frames.ts';
import { MessageReader } from './message.ts';

export interface BodyLoad {
  readonly door: Door;
  readonly model: string;
  readonly bytes: number;
  /** So many, or as many as these seconds allow. */
  readonly count: number;
  readonly seconds: number;
}

export interface BodiesSent {
  /** Milliseconds of each, from its first byte sent to its answer's last. */
  readonly times: readonly number[];
  readonly from_us: number;
  readonly to_us: number;
}

/** Rejects unless each is answered 200. */
async function send({ door, model, bytes, count, seconds }: BodyLoad): Promise<BodiesSent> {
  const body = pictureBody(model, bytes);
  const message = Buffer.concat([Buffer.from(requestHead(door, body.length)), body]);
  const { hostname, port } = new URL(door.base);
  const from_us = nowUs();
  const times = await new Promise<number[]>((resolve, reject) => {
    const times: number[] = [];
    let sent_us = 0;
    const reader = new MessageReader({
      head(head) {
        if (!head.startsWith('HTTP/1.1 200 ')) reject(new Error(`a body was answered ${head.split('\r\n')[0]}`));
      },
      body: () => undefined,
      end() {
        const now_us = nowUs();
        times.push((now_us - sent_us) / 1000);
        if (times.length < count && now_us < from_us + seconds * 1e6) next();
        else resolve(times);
      },
    });
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    const next = (): void => {
      sent_us = nowUs();
      socket.write(message);
    };
    socket.once('connect', next);
    socket.on('data', (part: Buffer) => reader.push(part));
    socket.once('error', reject);
    socket.once('end', () => reject(new Error('the connection was closed')));
  });
  return { times, from_us, to_us: nowUs() };
}

if (import.meta.main) {
  const sent = await send(JSON.parse(process.argv[2] ?? '') as BodyLoad);
  process.stdout.write(`${JSON.stringify(sent)}\n`, () => process.exit());
}
