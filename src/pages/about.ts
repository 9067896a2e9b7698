// `GET /`: what answers here, and at which address it sees the caller: behind a proxy, the first thing to check.
export function about(version: string, address: string, has_batches: boolean) {
  return {
    service: 'Lanyard',
    description: 'One OpenAI-compatible endpoint for every GPU a team owns.',
    version,
    documentation: 'README.md and docs/ of the installation',
    your_address: address,
    endpoints: [
      '/v1/chat/completions',
      '/v1/completions',
      '/v1/embeddings',
      '/v1/models',
      ...(has_batches ? ['/v1/files', '/v1/batches'] : []),
      '/health',
      '/health/ready',
      '/metrics',
    ],
  };
}
