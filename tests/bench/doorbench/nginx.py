"""nginx with grpc_pass: no authorization, one upstream."""

from __future__ import annotations

from contextlib import ExitStack

from doorbench import worker
from doorbench.load import Target
from doorbench.machine import free_port, program
from doorbench.subject import CREDENTIALS, Subject, ports

CONFIGURATION = """
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/pid;
error_log {folder}/error.log error;
events {{ worker_connections {files}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    http2_max_concurrent_streams 1000;
    http2_body_preread_size 1m;
    upstream worker {{
        server 127.0.0.1:{behind};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{plain} http2 backlog=4096;
        listen 127.0.0.1:{tls} http2 ssl backlog=4096;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            grpc_pass grpc://worker;
            grpc_read_timeout 1h;
            grpc_buffer_size 64k;
        }}
    }}
}}
"""


class Nginx(Subject):
    name = "nginx grpc_pass"

    def check(self) -> None:
        super().check()
        program("nginx", "nginx-light")

    def start(self, stack: ExitStack) -> None:
        plain, tls = ports()
        behind = free_port()
        chain, key = self.bench.certificate
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(
                files=self.bench.files,
                folder=self.folder,
                behind=behind,
                plain=plain,
                tls=tls,
                chain=chain,
                key=key,
            )
        )
        self.run(stack, *worker.command(str(behind)), load=True)
        self.run(stack, program("nginx", "nginx-light"), "-c", str(configuration))
        self.target = Target(plain, tls, CREDENTIALS)
        self.await_port(plain)
