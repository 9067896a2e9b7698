#!/usr/bin/env node
// Starts src/main.ts on the Node.js it was made for. npm installs that one too, but npm before 11.6 loses the link to it
// (npm/cli#4362), and then whichever Node.js is on PATH runs this: so it is plain JavaScript, it looks for the right one
// itself, and it mends the link for everything else that goes by it.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, symlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const MAIN = join(ROOT, 'src', 'main.ts');
const PACKAGES = join(ROOT, 'node_modules');

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const pinned = findPinned();
if (pinned !== undefined) mendLink(pinned);

// The oldest that runs TypeScript as it stands: package.json, `engines`.
if (major > 24 || (major === 24 && minor >= 12)) {
  await import(pathToFileURL(MAIN).href);
} else if (pinned !== undefined) {
  runOn(pinned);
} else {
  process.stderr.write(
    `lanyard: Node.js 24.12 or newer is needed, and this is ${process.versions.node}. \`npm ci\` in ${ROOT} brings the right one.\n`,
  );
  process.exitCode = 1;
}

/** The one of this platform: npm installs no other. */
function findPinned() {
  if (!existsSync(PACKAGES)) return undefined;
  const names = readdirSync(PACKAGES).filter((name) => name.startsWith('node-'));
  const files = names.flatMap((name) => ['node', 'node.exe'].map((file) => join(PACKAGES, name, 'bin', file)));
  return files.find((file) => existsSync(file));
}

/** @param {string} node */
function mendLink(node) {
  const bin = join(PACKAGES, '.bin');
  if (process.platform === 'win32' || existsSync(join(bin, 'node')) || !existsSync(bin)) return;
  try {
    symlinkSync(relative(bin, node), join(bin, 'node'));
  } catch {
    // Another's clone, or two at once: this start does not need it.
  }
}

/** @param {string} node */
function runOn(node) {
  // As `npm start` does: package.json.
  const child = spawn(node, ['--max-semi-space-size=16', MAIN, ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGINT', 'SIGHUP'])) {
    // A terminal's Ctrl-C reaches both already; a second one would mean "at once".
    process.on(signal, () => (signal === 'SIGINT' && process.stdin.isTTY ? undefined : child.kill(signal)));
  }
  child.once('error', (error) => {
    process.stderr.write(`lanyard: ${node} cannot be run: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.once('close', (code, signal) => {
    process.exitCode = code ?? 128 + (signal === null ? 0 : (constants.signals[signal] ?? 0));
  });
}
