// Loaded before a program (`--import`): it tells each package that is loaded, on standard error, once.
import { registerHooks } from 'node:module';

const told = new Set<string>();

registerHooks({
  load(url, context, nextLoad) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1];
    if (name !== undefined && !told.has(name)) {
      told.add(name);
      process.stderr.write(`loaded ${name}\n`);
    }
    return nextLoad(url, context);
  },
});
