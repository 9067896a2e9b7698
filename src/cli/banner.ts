// What `npm start` prints: where it listens, what it found, and one line to paste.
import type { Gateway } from '../gateway.ts';
import type { Config } from '../types.ts';

interface Start {
  readonly config: Config;
  readonly gateway: Gateway;
  readonly version: string;
  readonly started_ms: number;
}

const MODELS_SHOWN = 12;

export function banner({ config, gateway, version, started_ms }: Start, out: (line: string) => void): void {
  const { fleet, listeners, kind } = gateway;
  out(`Lanyard ${version}, started in ${Math.round(started_ms)} ms`);
  for (const { address, config: listener } of listeners) {
    out(`  listening  ${urlOf(address)}  (${listener.auth === 'open' ? 'open: no key asked' : 'key required'})`);
  }
  if (kind === 'demo') {
    out("  backends   no engine found on this machine's usual ports; looking again every 30 s");
    out('             until then the built-in demo answers: a script, not a language model');
  } else {
    for (const { name, config: backend, health, reason, models } of fleet.backends.values()) {
      const state =
        health === 'up'
          ? `up, ${models.size} ${models.size === 1 ? 'model' : 'models'}`
          : `${health}${reason === '' ? '' : `: ${reason}`}`;
      out(`  backend    ${name}  ${backend.url}  ${state}`);
    }
  }
  const models = [...fleet.models.keys()].toSorted();
  const more = models.length > MODELS_SHOWN ? `, and ${models.length - MODELS_SHOWN} more` : '';
  out(`  models     ${models.length === 0 ? 'none yet' : models.slice(0, MODELS_SHOWN).join(', ') + more}`);
  const first = listeners[0];
  if (first !== undefined) {
    out('  try it');
    out(`    ${tryIt(urlOf(first.address), first.config.auth === 'open', models[0] ?? 'MODEL')}`);
  }
  if (config.limits.ip === undefined) out('  note       no per-IP limit (limits.ip: off)');
}

/** One line for a shell: the key comes from the environment or, failing that, from `.env`, quoted or not. */
function tryIt(url: string, open: boolean, model: string): string {
  const read = String.raw`sed -n 's/^[^#]*LITELLM_MASTER_KEY *= *["'\'']*\([^"'\''[:space:]]*\).*/\1/p' .env`;
  const key = `\${LITELLM_MASTER_KEY:-$(${read})}`;
  const authorization = open ? '' : ` -H "Authorization: Bearer ${key}"`;
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello!' }] }).replaceAll(
    "'",
    String.raw`'\''`,
  );
  return `curl -sS ${url}/v1/chat/completions${authorization} -H 'Content-Type: application/json' -d '${body}'`;
}

function urlOf({ host, port }: { host: string; port: number }): string {
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host;
  return `http://${name}:${port}`;
}
