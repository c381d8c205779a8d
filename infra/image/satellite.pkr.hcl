# An AMI that has on it all that a satellite's cloud-init would install. `build` makes the script
# from torpor_provisioner.bootstrap, so that the two can never differ.

variable "script" {
  description = "What `python -m torpor_provisioner.bootstrap image-script` prints, in a file."
  type        = string
}

variable "architecture" {
  description = "x86_64 or arm64."
  type        = string
}

variable "system" {
  description = "al2023 or ubuntu, as in the script."
  type        = string
}

variable "worker" {
  description = "buildkit or bazel-cache, as in the script."
  type        = string
}

variable "checksum" {
  description = "SHA-256 of the script; a tag, by which an image is told from an older one."
  type        = string
}

variable "region" {
  type    = string
  default = "us-east-1"
}

variable "subnet" {
  description = "Where it is made; empty takes the default VPC."
  type        = string
  default     = ""
}

locals {
  name = "torpor-satellite-${var.system}-${var.worker}-${var.architecture}"
  base = {
    al2023 = {
      owner = "amazon"
      user  = "ec2-user"
      names = { x86_64 = "al2023-ami-2023.*-kernel-*-x86_64", arm64 = "al2023-ami-2023.*-kernel-*-arm64" }
    }
    ubuntu = {
      owner = "099720109477" # Canonical
      user  = "ubuntu"
      names = {
        # The newest that AWS lists as able to hibernate.
        x86_64 = "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*"
        arm64  = "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-arm64-server-*"
      }
    }
  }
}

source "amazon-ebs" "satellite" {
  ami_name        = "${local.name}-${formatdate("YYYYMMDDhhmmss", timestamp())}"
  ami_description = "A satellite of Torpor: ${var.worker} on ${var.system}"
  region          = var.region
  subnet_id       = var.subnet
  instance_type   = var.architecture == "arm64" ? "m7g.large" : "m7i.large"
  ssh_username    = local.base[var.system].user
  encrypt_boot    = true

  source_ami_filter {
    filters = {
      name                = local.base[var.system].names[var.architecture]
      architecture        = var.architecture
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = [local.base[var.system].owner]
    most_recent = true
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = var.system == "ubuntu" ? "/dev/sda1" : "/dev/xvda"
    volume_size           = 16
    volume_type           = "gp3"
    throughput            = 125
    iops                  = 3000
    delete_on_termination = true
  }

  tags = {
    "Name"           = local.name
    "torpor:worker"  = var.worker
    "torpor:system"  = var.system
    "torpor:base"    = "{{ .SourceAMI }}"
    "torpor:written" = var.checksum
  }
}

build {
  sources = ["source.amazon-ebs.satellite"]

  provisioner "shell" {
    # The base's own first boot must be over: it holds the package manager.
    inline = ["cloud-init status --wait || true"]
  }

  provisioner "shell" {
    script          = var.script
    execute_command = "chmod +x {{ .Path }} && sudo {{ .Path }}"
  }
}
