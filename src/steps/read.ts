// What is asked? The body's raw bytes, bounded in size and in silence, and the few fields we need, found without parsing.
import type { IncomingMessage } from 'node:http';
import type { Bodies } from '../edge/bodies.ts';
import type { Reply } from '../edge/reply.ts';
import { callFrom } from '../wire/call.ts';
import { GatewayError } from '../wire/errors.ts';
import { Gather } from '../wire/gather.ts';
import { Lent } from '../wire/lent.ts';
import type { Call, Caller, Endpoint, Limits } from '../types.ts';

interface Means {
  readonly config: { readonly limits: Limits };
  readonly bodies: Bodies;
}

/** A smaller body is left to the collector. */
const LENT_BYTES_MIN = 1 << 20;

/**
 * The body is held in memory until the call is disposed of.
 * @throws GatewayError `unsupported_media_type`, `request_too_large`, `request_timeout`, `server_is_overloaded`,
 * `invalid_json`, `invalid_value`, …
 */
export function read(
  request: IncomingMessage,
  endpoint: Endpoint,
  caller: Caller,
  means: Means,
  reply: Reply,
): (Call & Disposable) | Promise<Call & Disposable> {
  refuseOtherTypes(request);
  // A small body has mostly come with its head, and is had without a listener, a timer or a promise.
  const announced = request.headers['content-length'];
  if (announced !== undefined && request.readableLength > 0 && request.readableLength === Number(announced)) {
    return callOf(readNow(request, means), endpoint, caller, means);
  }
  return readBody(request, means, reply).then((body) => callOf(body, endpoint, caller, means));
}

/** The body is held already. */
function callOf(body: Buffer, endpoint: Endpoint, caller: Caller, { bodies }: Means): Call & Disposable {
  const { length } = body;
  const lent = length < LENT_BYTES_MIN ? undefined : new Lent(body);
  const give_back = lent?.borrow();
  const release = (): void => {
    bodies.release(length);
    give_back?.();
  };
  try {
    return {
      ...callFrom(body, endpoint, caller.default_model),
      ...(lent === undefined ? {} : { borrow: () => lent.borrow() }),
      [Symbol.dispose]: release,
    };
  } catch (error) {
    release();
    throw error;
  }
}

function refuseOtherTypes({ headers }: IncomingMessage): void {
  const type = headers['content-type'] ?? '';
  if (type === 'application/json' && headers['content-encoding'] === undefined) return;
  // A browser may send other types to any server without asking (CSRF); JSON it may not.
  if (!/^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i.test(type)) {
    throw new GatewayError('unsupported_media_type', 'Send the body as Content-Type: application/json, in UTF-8.');
  }
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding.toLowerCase() !== 'identity') {
    throw new GatewayError(
      'unsupported_media_type',
      'A compressed request body is not accepted: send it without Content-Encoding.',
    );
  }
}

function readNow(request: IncomingMessage, { config: { limits }, bodies }: Means): Buffer {
  const body = request.read() as Buffer;
  if (body.length > limits.body_bytes_max) throw tooLarge(limits);
  bodies.hold(body.length, limits.bodies_bytes_max);
  return body;
}

function tooLarge({ body_bytes_max }: Limits): GatewayError {
  const message = `The request body is larger than ${body_bytes_max} bytes (body_bytes_max).`;
  return new GatewayError('request_too_large', message);
}

function readBody(request: IncomingMessage, { config: { limits }, bodies }: Means, reply: Reply): Promise<Buffer> {
  const { body_bytes_max, bodies_bytes_max, body_idle_ms } = limits;
  const announced = Number(request.headers['content-length'] ?? 0);
  if (announced > body_bytes_max) throw tooLarge(limits);
  reply.continueBody(request);
  return new Promise((resolve, reject) => {
    const gather = new Gather(announced, false);
    const silence = setTimeout(() => {
      stop(
        new GatewayError(
          'request_timeout',
          `No byte of the request body arrived for ${body_idle_ms} ms (body_idle_ms).`,
        ),
      );
    }, body_idle_ms);
    const stop = (error: unknown): void => {
      clearTimeout(silence);
      request.off('data', take);
      bodies.release(gather.bytes);
      reply.signal.removeEventListener('abort', leave);
      reject(error);
    };
    const leave = (): void => stop(reply.signal.reason);
    const take = (part: Buffer): void => {
      silence.refresh();
      try {
        if (gather.bytes + part.length > body_bytes_max) throw tooLarge(limits);
        bodies.hold(part.length, bodies_bytes_max);
        gather.add(part);
      } catch (error) {
        stop(error);
      }
    };
    reply.signal.addEventListener('abort', leave, { once: true });
    request.on('data', take);
    request.once('end', () => {
      clearTimeout(silence);
      reply.signal.removeEventListener('abort', leave);
      resolve(gather.whole());
    });
    if (reply.signal.aborted) leave();
  });
}
