// Answers in this process: never more than their room, never one whose time is over, and those asked for last stay longest.
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Recent } from '../../src/cache/recent.ts';

test('what is kept is what was put last, within its room and its time', () => {
  const act = fc.record({
    id: fc.constantFrom('a', 'b', 'c', 'd'),
    bytes: fc.integer({ min: 0, max: 60 }),
    ttl: fc.integer({ min: 0, max: 5 }),
    puts: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
      const recent = new Recent();
      const last = new Map<string, { body: Buffer; until: number }>();
      for (const [now, { id, bytes, ttl, puts }] of acts.entries()) {
        if (puts) {
          const body = Buffer.alloc(bytes, now % 251);
          recent.put(id, body, now + ttl, 100);
          last.set(id, { body, until: now + ttl });
        } else {
          const had = recent.get(id, now);
          const put = last.get(id);
          if (had !== undefined) expect([put?.body.equals(had), (put?.until ?? 0) > now]).toEqual([true, true]);
        }
        expect(recent.bytes).toBeLessThanOrEqual(100);
        expect(recent.bytes).toBeGreaterThanOrEqual(0);
      }
    }),
  );
});

test('what was asked for longest ago makes room', () => {
  const recent = new Recent();
  for (const id of ['a', 'b', 'c']) recent.put(id, Buffer.alloc(30), 10, 100);
  expect(recent.get('a', 0)).toHaveLength(30);
  recent.put('d', Buffer.alloc(30), 10, 100);
  expect(['a', 'b', 'c', 'd'].filter((id) => recent.get(id, 0) !== undefined)).toEqual(['a', 'c', 'd']);
  expect(recent.bytes).toBe(90);
});
