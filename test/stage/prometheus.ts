// The files of deploy/ run by a real Prometheus: the very text, with only the gateways' addresses and the time replaced (a
// quarter of a second for fifteen, one second for every `for`), so that a test sees in seconds what takes minutes.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { freePort } from './ports.ts';
import { findProgram, startProgram } from './program.ts';

export interface PrometheusServer {
  /** The value of an expression now. @throws with Prometheus' own words */
  query(expr: string): Promise<readonly Sample[]>;
  /** What Grafana's `label_values(selector, label)` shows. */
  labelValues(selector: string, label: string): Promise<readonly string[]>;
  rules(): Promise<readonly Rule[]>;
  /** Those that are pending or firing. */
  alerts(): Promise<readonly Alert[]>;
}

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Rule {
  readonly name: string;
  readonly type: 'alerting' | 'recording';
  readonly query: string;
  readonly health: 'ok' | 'unknown' | 'err';
  readonly lastError?: string;
}

interface Alert {
  readonly state: 'pending' | 'firing';
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export async function startPrometheus(gateway: string): Promise<PrometheusServer> {
  const folder = mkdtempSync(join(tmpdir(), 'lanyard-prometheus-'));
  const text = replaced(deployed('prometheus.yml'), [
    [/gateway:4000/g, gateway],
    [/(scrape|evaluation)_interval: 15s/g, '$1_interval: 250ms'],
  ]);
  writeFileSync(join(folder, 'prometheus.yml'), text);
  writeFileSync(join(folder, 'rules.yml'), deployed('rules.yml'));
  writeFileSync(join(folder, 'alerts.yml'), replaced(deployed('alerts.yml'), [[/\bfor: \w+/g, 'for: 1s']]));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const args = [
    `--config.file=${folder}/prometheus.yml`,
    `--storage.tsdb.path=${folder}/data`,
    `--web.listen-address=127.0.0.1:${port}`,
  ];
  const ready = (): Promise<boolean> =>
    fetch(`${url}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  const server = await startProgram(findProgram('prometheus'), args, ready);
  onTestFinished(async () => {
    await server.end('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  async function get<Data>(path: string, parameters: Record<string, string> = {}): Promise<Data> {
    const answer = await fetch(`${url}/api/v1/${path}?${new URLSearchParams(parameters).toString()}`);
    const { data, error } = (await answer.json()) as { data: Data; error?: string };
    if (error !== undefined) throw new Error(`${error}: ${JSON.stringify(parameters)}`);
    return data;
  }

  return {
    query: async (query) => {
      const { result } = await get<{ result: { metric: Record<string, string>; value: [number, string] }[] }>('query', {
        query,
      });
      return result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
    },
    labelValues: (selector, label) => get(`label/${label}/values`, { 'match[]': selector }),
    rules: async () => {
      const { groups } = await get<{ groups: { rules: Rule[] }[] }>('rules');
      return groups.flatMap(({ rules }) => rules);
    },
    alerts: async () => (await get<{ alerts: Alert[] }>('alerts')).alerts,
  };
}

function deployed(name: string): string {
  return readFileSync(fileURLToPath(new URL(`../../deploy/${name}`, import.meta.url)), 'utf8');
}

function replaced(text: string, changes: readonly (readonly [RegExp, string])[]): string {
  return changes.reduce((now, [from, to]) => {
    if (!now.match(from)) throw new Error(`no ${from} in it`);
    return now.replace(from, to);
  }, text);
}
