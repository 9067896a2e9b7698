// The imported configuration as the YAML an operator goes on with, its remarks at the head.
import { label } from '../config/faults.ts';
import type { Imported } from './litellm.ts';
import type { Kind } from './source.ts';

/** @param name how the remarks call the file that was read */
export function yaml(imported: Imported, name: string): string {
  const { settings, backends, models } = imported;
  const lines = [
    '# yaml-language-server: $schema=./lanyard.schema.json',
    `# Made of ${name} by \`lanyard import litellm\`. \`npx lanyard check\` tells whether it can be used.`,
    ...remarks(imported, name).map((line) => `# ${line}`.trimEnd()),
    '',
    'listen:',
    `  - port: ${settings.port} # of this machine alone; nginx in front, or host: 0.0.0.0, makes it others' too`,
  ];
  if (settings.master_key !== undefined) lines.push('auth:', `  master_key: ${scalar(settings.master_key)}`);
  const limits = [...settings.limits].map(([option, value]) => `  ${option}: ${value}`);
  if (settings.parallel !== undefined) limits.unshift(`  ip: { parallel: ${settings.parallel} }`);
  if (limits.length > 0) lines.push('limits:', ...limits);
  if (settings.redis !== undefined) lines.push(`redis: ${scalar(settings.redis)}`);
  if (backends.length > 0) lines.push('backends:');
  for (const { name, engine, url, key, slots, publish } of backends) {
    lines.push(`  ${scalar(name)}:`, `    engine: ${engine}`, `    url: ${scalar(url)}`);
    if (key !== undefined) lines.push(`    key: ${scalar(key)}`);
    if (slots !== undefined) lines.push(`    slots: ${slots}`);
    if (publish.length > 0) lines.push('    publish:', ...items(publish, 6));
  }
  if (models.size > 0) lines.push('models:');
  for (const [name, { serve, fallback }] of models) {
    lines.push(`  ${scalar(name)}:`);
    if (fallback.length === 0) lines.push(...items(serve, 4));
    else lines.push('    serve:', ...items(serve, 6), '    fallback:', ...items(fallback, 6));
  }
  return lines.join('\n');
}

/** All remarks by what follows from them; alike ones are one, with every place they are about. */
export function remarks({ remarks }: Imported, name: string): string[] {
  return KINDS.flatMap(([kind, heading]) => {
    const alike = Map.groupBy(
      remarks.filter((remark) => remark.kind === kind),
      ({ path, text }) =>
        JSON.stringify([path.length === 0 || typeof path.at(-1) === 'number' ? '' : path.at(-1), text]),
    );
    const lines = [...alike.values()].map((all) => {
      // What stands at an anchor is met wherever that is merged.
      const [place, ...others] = new Set(all.map(({ at }) => `${at.line}:${at.column}`));
      const { path = [], text = '' } = all[0] ?? {};
      const more = others.length === 0 ? '' : ` (and ${others.join(', ')})`;
      return path.length === 0 ? `  ${text}` : `  ${name}:${place} ${label(path)}${more}: ${text}`;
    });
    return lines.length === 0 ? [] : [`${heading}:`, ...lines];
  });
}

const KINDS: readonly (readonly [Kind, string])[] = [
  ['todo', 'To do'],
  ['changed', 'Carried over with a difference'],
  ['lost', 'Not carried over'],
  ['needless', 'Not needed'],
];

function items(values: readonly string[], indent: number): string[] {
  return values.map((value) => `${' '.repeat(indent)}- ${scalar(value)}`);
}

/** Plain where YAML takes it for nothing but this text, else in quotes, as JSON has them. */
function scalar(text: string): string {
  const plain = /^[A-Za-z$][\w./:@+${}-]*$/.test(text) && !/:$|^(true|false|null|yes|no|on|off)$/i.test(text);
  return plain ? text : JSON.stringify(text);
}
