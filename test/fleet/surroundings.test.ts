// What the fleet is made of, when configurations and engines come quickly one after the other.
import { afterEach, expect, test } from 'vitest';
import { Fleet } from '../../src/fleet/fleet.ts';
import { Surroundings, type Kind } from '../../src/fleet/surroundings.ts';
import { stageConfig } from '../stage/gateway.ts';

const open: { stop(): unknown }[] = [];
afterEach(async () => void (await Promise.all(open.splice(0).map((one) => one.stop()))));

const CONFIGURED = stageConfig('backends: { rack: { engine: openai, url: "http://127.0.0.1:1" } }\n');
const NONE = stageConfig('');

function surroundings(): { fleet: Fleet; around: Surroundings; told: Kind[] } {
  const told: Kind[] = [];
  const fleet = new Fleet(
    { health: () => undefined, unverified: () => undefined },
    { every_ms: 600_000, soon_ms: 600_000 },
  );
  const around = new Surroundings(fleet, { ports: [], look_every_ms: 600_000, report: (kind) => void told.push(kind) });
  open.push(around, fleet);
  return { fleet, around, told };
}

// However far the first has come when the second arrives: at the search, at the demo's start, at the first probe.
test.each([0, 1, 2, 3, 5, 8])('the last configuration counts, %i turns after the one before', async (turns) => {
  const { fleet, around } = surroundings();
  const first = around.settle(NONE);
  for (let at = 0; at < turns; at += 1) await new Promise((resolve) => process.nextTick(resolve));
  await Promise.all([first, around.settle(CONFIGURED)]);
  expect([around.kind, [...fleet.backends.keys()]]).toEqual(['configured', ['rack']]);
});

test('a demo that is wanted again is not ended by the configuration before', async () => {
  const { fleet, around } = surroundings();
  await around.settle(NONE);
  await Promise.all([around.settle(CONFIGURED), around.settle(NONE)]);
  expect([around.kind, [...fleet.backends.keys()]]).toEqual(['demo', ['demo']]);
  expect((await fetch(`${fleet.backends.get('demo')?.config.url}/v1/models`)).status).toBe(200);
});

test('a change of what it is made of is reported once', async () => {
  const { around, told } = surroundings();
  for (const config of [NONE, NONE, CONFIGURED, CONFIGURED, NONE]) await around.settle(config);
  expect(told).toEqual(['demo', 'configured', 'demo']);
});
