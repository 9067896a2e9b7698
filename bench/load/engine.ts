// The mock engine for unstreamed calls: nginx, which answers as fast as anything does and leaves the core to the load.
import { startNginx } from '../../test/stage/nginx.ts';
import { freePort } from '../../test/stage/ports.ts';
import { LOAD_CORE, pin } from '../machine.ts';
import { CHAT_ANSWER, MODELS_ANSWER } from './answers.ts';

export interface MockEngine {
  /** http://host:port, no path. */
  readonly url: string;
  stop(): Promise<void>;
}

export async function startMockEngine(): Promise<MockEngine> {
  const port = await freePort();
  const server = await startNginx(`
    worker_processes 1;
    events { worker_connections 20480; }
    http {
      keepalive_requests 1000000000;
      keepalive_timeout 600s;
      client_max_body_size 64m;
      default_type application/json;
      server {
        listen 127.0.0.1:${port} backlog=4096;
        location = /v1/chat/completions { return 200 '${CHAT_ANSWER}'; }
        location = /v1/models { return 200 '${MODELS_ANSWER}'; }
        location / { return 404 '{}'; }
      }
    }`);
  pin(server.pid, LOAD_CORE);
  return { url: `http://127.0.0.1:${port}`, stop: () => server.stop() };
}
