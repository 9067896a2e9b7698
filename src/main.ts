#!/usr/bin/env node
// The entry: `npm start` serves; `npx lanyard COMMAND` from the clone or in the image. It only chooses.
import { batch } from './cli/batch.ts';
import { check } from './cli/check.ts';
import { doctor } from './cli/doctor.ts';
import { importConfig } from './cli/import.ts';
import { init } from './cli/init.ts';
import { key } from './cli/key.ts';
import { monitor } from './cli/monitor.ts';
import { serve } from './cli/serve.ts';
import { VERSION } from './cli/version.ts';

const USAGE = `Lanyard ${VERSION}: one OpenAI-compatible endpoint for every GPU a team owns.

  lanyard serve [--config PATH]   start the gateway (the default)
  lanyard check [--config PATH]   check the configuration and say every fault
  lanyard doctor [--url URL]      look at everything on a request's way, and say what to do (--help: more)
  lanyard key NAME                make a key for a person or a tool
  lanyard init [--domain NAME]    write .env and certificates for this machine
  lanyard batch submit FILE       send a file of requests; also: status, list, results, cancel, report (--help: more)
  lanyard monitor                 watch all batches in this terminal (--help: more)
  lanyard import litellm FILE     print a LiteLLM configuration as one of Lanyard's
  lanyard version | help
`;

const [command = 'serve', ...rest] = process.argv.slice(2);
const out = (line: string): void => void process.stdout.write(`${line}\n`);
// Whoever reads may leave (`npm start | head`): what is then said to nobody must not end the gateway.
process.stdout.on('error', () => undefined);

// Those that have no usage of their own; asked what it does, a command must not do it.
const asked = rest.some((arg) => arg === '--help' || arg === '-h') && ['serve', 'check', 'key'].includes(command);

switch (asked ? 'help' : command) {
  case 'serve':
    process.exitCode = await serve(rest, out);
    break;
  case 'check':
    process.exitCode = await check(rest, out, process.env);
    break;
  case 'doctor':
    process.exitCode = await doctor(rest, out, process.env);
    break;
  case 'key':
    process.exitCode = key(rest, out);
    break;
  case 'init':
    process.exitCode = await init(rest, { out });
    break;
  case 'batch':
    process.exitCode = await batch(rest, out, process.env);
    break;
  case 'monitor':
    process.exitCode = await monitor(rest, out, process.env);
    break;
  case 'import':
    process.exitCode = await importConfig(rest, { out });
    break;
  case 'version':
  case '--version':
    out(VERSION);
    break;
  case 'help':
  case '--help':
  case '-h':
    out(USAGE);
    break;
  default:
    // `lanyard --config PATH` serves.
    if (command.startsWith('--config')) {
      process.exitCode = await serve(process.argv.slice(2), out);
    } else {
      process.stderr.write(`lanyard: unknown command "${command}"\n\n${USAGE}`);
      process.exitCode = 2;
    }
}
