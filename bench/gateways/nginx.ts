// The floor: nginx as a plain proxy. One worker, connections to the engine kept, nothing buffered, no log, no limits: less
// than anybody runs, and as fast as a proxy gets.
import { spawnSync } from 'node:child_process';
import { startNginx } from '../../test/stage/nginx.ts';
import { freePort } from '../../test/stage/ports.ts';
import { findProgram } from '../../test/stage/program.ts';
import { GATEWAY_CORE, pin } from '../machine.ts';
import { KEY, programIsHere, type Gateway } from './gateway.ts';

export const nginx: Gateway = {
  name: 'nginx',
  look() {
    if (!programIsHere('nginx')) return { missing: 'nginx is not installed (node scripts/setup.ts installs it)' };
    // It says its version on standard error.
    const { stderr } = spawnSync(findProgram('nginx'), ['-v'], { encoding: 'utf8' });
    return { version: /nginx\/(\S+)/.exec(stderr)?.[1] ?? 'unknown' };
  },
  async start(engine) {
    const port = await freePort();
    const server = await startNginx(`
      worker_processes 1;
      events { worker_connections 20480; }
      http {
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
        client_max_body_size 64m;
        client_body_buffer_size 32m;
        upstream engine { server ${new URL(engine).host}; keepalive 2048; keepalive_requests 1000000000; }
        server {
          listen 127.0.0.1:${port} backlog=4096;
          location / {
            proxy_pass http://engine;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
          }
        }
      }`);
    pin(server.pid, GATEWAY_CORE);
    const url = `http://127.0.0.1:${port}`;
    return {
      url,
      base: `${url}/v1`,
      headers: { authorization: `Bearer ${KEY}` },
      pid: server.pid,
      stop: () => server.stop(),
    };
  },
};
