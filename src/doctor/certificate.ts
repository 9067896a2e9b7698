// The certificate that the address people use shows: believed, in time, of the right name, and the one that lies on the disk.
import { readFileSync } from 'node:fs';
import { connect, checkServerIdentity, type PeerCertificate, type TLSSocket } from 'node:tls';
import { isIP } from 'node:net';
import { X509Certificate } from 'node:crypto';
import { authorities, Unanswered } from './ask.ts';
import { about, count, type Finding } from './finding.ts';

export interface CertificateNews {
  readonly findings: readonly Finding[];
  /** Whether a key may be sent there: the server is who it says. */
  readonly trusted: boolean;
}

const DAY_MS = 86_400_000;
/** ACME renews after two thirds of a certificate's life; with a sixth left, renewing has failed for a while. */
const LIFE_LEFT_MIN = 1 / 6;
/** A private CA's certificate lasts years: no need to speak of it half a year before. */
const SOON_MS_MAX = 21 * DAY_MS;

/** `files`: certificates on this machine that nginx is to serve; `ca`: authorities to believe beside the usual ones, in PEM. */
export async function certificate(
  url: URL,
  ca: readonly string[],
  files: readonly string[],
  wait_ms: number,
  now = Date.now(),
): Promise<CertificateNews> {
  const said = about('front.certificate', url.host);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const socket = await shake(host, Number(url.port || '443'), ca, wait_ms);
  try {
    const shown = socket.getPeerCertificate();
    // Node gives the error's code as a text (tls.TLSSocket.authorizationError).
    const doubt = socket.authorized ? '' : String(socket.authorizationError);
    const misnamed = checkServerIdentity(host, shown) !== undefined;
    const findings = [...validity(shown, now, said), ...reloaded(shown, host, files, url)];
    if (misnamed) {
      const names = (shown.subjectaltname ?? '').replaceAll(/DNS:|IP Address:/g, '');
      findings.push(
        said.fail(
          `is not for ${host}, but for ${names || 'no name at all'}`,
          `Make one for every name and address people use: deploy/certs.sh ${host} …, or certbot -d ${host}.`,
        ),
      );
    }
    if (doubt !== '' && doubt !== 'CERT_HAS_EXPIRED' && doubt !== 'ERR_TLS_CERT_ALTNAME_INVALID')
      findings.push(disbelief(doubt, shown, said));
    if (findings.every(({ status }) => status === 'ok')) findings.unshift(said.ok(`believed here, for ${host}`));
    return { findings, trusted: socket.authorized && !misnamed };
  } finally {
    socket.destroy();
  }
}

function disbelief(code: string, shown: PeerCertificate, said: ReturnType<typeof about>): Finding {
  const ca = 'NODE_EXTRA_CA_CERTS=ca.pem (Node, VS Code), SSL_CERT_FILE=ca.pem (Python)';
  if (code === 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' || code === 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY') {
    const issuer = [shown.issuer?.CN ?? ''].flat().join(' ');
    return said.warn(
      `its issuer (${issuer || 'unnamed'}) is not known here (${code})`,
      `A private CA: clients must be told of it, ${ca}; here: --ca FILE. A public one: serve fullchain.pem, not the leaf alone.`,
    );
  }
  return said.warn(`is not believed here (${code})`, `Its CA must be told to every client, ${ca}; here: --ca FILE.`);
}

function validity({ valid_from, valid_to }: PeerCertificate, now: number, said: ReturnType<typeof about>): Finding[] {
  const [from, to] = [Date.parse(valid_from), Date.parse(valid_to)];
  const renew = 'Renew it (certbot renew; deploy/certs.sh for the private CA), then `nginx -s reload`.';
  if (now < from)
    return [said.fail('is not valid yet', 'Look at the clocks of this machine and of the one that made it.')];
  const left_ms = to - now;
  if (left_ms <= 0) return [said.fail(`has expired ${count(Math.ceil(-left_ms / DAY_MS), 'day')} ago`, renew)];
  const left = count(Math.floor(left_ms / DAY_MS), 'day');
  if (left_ms < Math.min((to - from) * LIFE_LEFT_MIN, SOON_MS_MAX)) return [said.warn(`expires in ${left}`, renew)];
  return [said.ok(`valid for ${left} more`)];
}

/** nginx reads certificates at its start and at a reload; a renewed file alone changes nothing. */
function reloaded(shown: PeerCertificate, host: string, files: readonly string[], { host: subject }: URL): Finding[] {
  const on_disk = files.flatMap((file) => {
    const read = readCertificate(file);
    const meant = read !== undefined && (isIP(host) === 0 ? read.checkHost(host) : read.checkIP(host)) !== undefined;
    return meant ? [{ file, read }] : [];
  });
  if (on_disk.length === 0 || on_disk.some(({ read }) => read.fingerprint256 === shown.fingerprint256)) return [];
  // Certificates count whole seconds, so two that differ may be of the same one.
  const newer = on_disk.find(({ read }) => Date.parse(read.validFrom) >= Date.parse(shown.valid_from));
  if (newer === undefined) return [];
  return [
    about('front.certificate', subject).warn(
      `is older than the one in ${newer.file}`,
      'nginx has not been reloaded since it was renewed: `nginx -s reload`.',
    ),
  ];
}

function readCertificate(file: string): X509Certificate | undefined {
  try {
    return new X509Certificate(readFileSync(file));
  } catch {
    // Not there, not ours to read, or no certificate: then there is nothing to compare with.
    return undefined;
  }
}

/** The handshake alone; nothing is sent. @throws Unanswered */
async function shake(host: string, port: number, ca: readonly string[], wait_ms: number): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  const socket = connect({
    host,
    port,
    ca: authorities(ca),
    rejectUnauthorized: false,
    ...(isIP(host) === 0 ? { servername: host } : {}),
  });
  socket.once('secureConnect', () => resolve(socket));
  socket.on('error', (error: NodeJS.ErrnoException) => reject(new Unanswered(error.code ?? 'UNKNOWN')));
  socket.setTimeout(wait_ms, () => {
    reject(new Unanswered('TIMEOUT'));
    socket.destroy();
  });
  return await promise;
}
