// A real nginx in a folder of its own, from the text of a whole nginx.conf. What would write outside that folder (pid,
// error log, temporary files) is pointed into it; an access log must be the text's own or there is none.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { findProgram, startProgram } from './program.ts';

export interface NginxServer {
  readonly pid: number;
  /** The prefix: relative paths of the configuration start here. */
  readonly folder: string;
  errorLog(): string;
  /** `nginx -s reload`, with another configuration or the same; resolves once new workers run. Throws nginx's own words for
   * a bad one. */
  reload(conf?: string): Promise<void>;
  stop(): Promise<void>;
}

/** The configuration's text, or (where it names files) a function of the folder that makes it. */
export async function startNginx(conf: string | ((folder: string) => string)): Promise<NginxServer> {
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-nginx-'));
  // Started by root, nginx drops to another user, who must reach its temporary files.
  chmodSync(folder, 0o755);
  const file = join(folder, 'nginx.conf');
  const log = join(folder, 'error.log');
  const pid = join(folder, 'nginx.pid');
  const nginx = findProgram('nginx');
  const args = ['-p', folder, '-e', log, '-c', file];
  const errorLog = (): string => (existsSync(log) ? readFileSync(log, 'utf8') : '');
  writeFileSync(file, within(folder, typeof conf === 'string' ? conf : conf(folder)));

  // nginx writes its pid file after it listens (src/core/nginx.c: ngx_init_cycle, then ngx_create_pidfile).
  const server = await startProgram(nginx, args, async () => existsSync(pid) && readFileSync(pid, 'utf8') !== '').catch(
    (error: unknown) => {
      throw new Error(`${String(error)}\n${errorLog()}`);
    },
  );

  return {
    pid: server.pid,
    folder,
    errorLog,
    async reload(text) {
      if (text !== undefined) writeFileSync(file, within(folder, text));
      execFileSync(nginx, [...args, '-t', '-q'], { stdio: 'pipe' });
      const seen = errorLog().length;
      execFileSync(nginx, [...args, '-s', 'reload'], { stdio: 'pipe' });
      const deadline = performance.now() + 10_000;
      while (!errorLog().slice(seen).includes('start worker process ')) {
        if (performance.now() > deadline) throw new Error(`nginx did not reload:\n${errorLog()}`);
        await pause(10);
      }
    },
    async stop() {
      await server.end('SIGTERM');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function within(folder: string, conf: string): string {
  const own = conf.replaceAll(/^\s*(?:daemon|pid|error_log)\s[^;]*;/gm, '');
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .filter((kind) => !own.includes(`${kind}_temp_path`))
    .map((kind) => `${kind}_temp_path ${folder}/${kind}_temp;`);
  if (!own.includes('access_log')) temporary.push('access_log off;');
  const head = `daemon off; pid ${folder}/nginx.pid; error_log ${folder}/error.log notice;`;
  return `${head}\n${own.replace(/\bhttp\s*\{/, `http { ${temporary.join(' ')}`)}`;
}
