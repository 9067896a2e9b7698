// The mock itself: what the load alone costs, and what every added time is added to.
import { ENGINE_MODEL, KEY, type Gateway } from './gateway.ts';

export const direct: Gateway = {
  name: 'direct',
  model: ENGINE_MODEL,
  look: () => ({ version: 'the mock' }),
  start: (engine) =>
    Promise.resolve({
      url: engine,
      base: `${engine}/v1`,
      headers: { authorization: `Bearer ${KEY}` },
      pid: undefined,
      stop: () => Promise.resolve(),
    }),
};
