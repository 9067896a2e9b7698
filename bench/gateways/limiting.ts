// nginx as a limiter, by the caller's key: `GET /rate` is held to the rate, everything under /v1 to the places.
import { startNginx } from '../../test/stage/nginx.ts';
import { freePort } from '../../test/stage/ports.ts';
import { LOAD_CORE, pin } from '../machine.ts';
import type { Running } from './gateway.ts';

interface Held {
  readonly per_second: number;
  readonly burst: number;
  readonly places: number;
}

export async function startLimiting(engine: string, { per_second, burst, places }: Held): Promise<Running> {
  const port = await freePort();
  // `return 200` would answer in the rewrite phase, before any limit is looked at; `empty_gif` is content.
  const server = await startNginx(`
    worker_processes 1;
    events { worker_connections 2048; }
    http {
      limit_req_zone $http_authorization zone=rate:1m rate=${per_second}r/s;
      limit_conn_zone $http_authorization zone=places:1m;
      limit_req_status 429;
      limit_conn_status 429;
      keepalive_requests 1000000;
      server {
        listen 127.0.0.1:${port} backlog=1024;
        location = /rate { limit_req zone=rate burst=${burst} nodelay; empty_gif; }
        location /v1/ { limit_conn places ${places}; proxy_buffering off; proxy_http_version 1.1; proxy_pass ${engine}; }
      }
    }`);
  pin(server.pid, LOAD_CORE);
  const url = `http://127.0.0.1:${port}`;
  return { url, base: `${url}/v1`, headers: {}, pid: server.pid, stop: () => server.stop() };
}
