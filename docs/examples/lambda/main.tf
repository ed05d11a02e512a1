# Pawl as the rotation function of AWS Secrets Manager, and, where schedule is set,
# of whatever secrets have its tags. docs/lambda.md explains it.
#
#   make lambda
#   terraform -chdir=docs/examples/lambda apply

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  description = "Name of the function, its role and its log."
  type        = string
  default     = "pawl"
}

variable "zip" {
  description = "What make lambda has built."
  type        = string
  default     = "../../../dist/pawl-lambda-arm64.zip"
}

variable "secrets" {
  description = "The secrets that the function may rotate: their names, as a pattern of IAM."
  type        = string
  default     = "prod/app/*"
}

variable "superuser" {
  description = "Name of the superuser's secret, for alternating users; empty for none."
  type        = string
  default     = ""
}

variable "environment" {
  description = "Further variables of the function, such as PAWL_STRATEGY or PAWL_RULES."
  type        = map(string)
  default     = {}
}

variable "schedule" {
  description = "When to rotate what is due by its tags, such as rate(1 hour); empty for never."
  type        = string
  default     = ""
}

variable "rotate" {
  description = "ARNs of secrets that Secrets Manager rotates by the function, every 30 days."
  type        = set(string)
  default     = []
}

variable "subnet_ids" {
  description = "Subnets from which the databases and Secrets Manager can be reached; empty for no VPC."
  type        = list(string)
  default     = []
}

variable "security_group_ids" {
  description = "Security groups of the function; those of the databases must let them in."
  type        = list(string)
  default     = []
}

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}
data "aws_region" "here" {}

locals {
  prefix = "arn:${data.aws_partition.here.partition}:secretsmanager:${data.aws_region.here.name}:${data.aws_caller_identity.here.account_id}:secret:"
  # Where there is no superuser, the statement about him names a secret that cannot be.
  superuser = var.superuser == "" ? "none" : var.superuser
  pairing   = var.superuser == "" ? {} : { PAWL_SUPERUSERS = jsonencode([{ secret = var.superuser, for = [var.secrets] }]) }
}

resource "aws_iam_role" "pawl" {
  name = var.name
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "secrets" {
  name = "secrets"
  role = aws_iam_role.pawl.id
  policy = templatefile("${path.module}/policy.json", {
    secrets   = "${local.prefix}${var.secrets}"
    superuser = "${local.prefix}${local.superuser}-??????"
  })
}

resource "aws_iam_role_policy" "log" {
  name = "log"
  role = aws_iam_role.pawl.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.pawl.arn}:*"
    }]
  })
}

# Network interfaces; AWS has no narrower policy for them.
resource "aws_iam_role_policy_attachment" "vpc" {
  count      = length(var.subnet_ids) > 0 ? 1 : 0
  role       = aws_iam_role.pawl.name
  policy_arn = "arn:${data.aws_partition.here.partition}:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"
}

resource "aws_cloudwatch_log_group" "pawl" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = 90
}

resource "aws_lambda_function" "pawl" {
  function_name    = var.name
  role             = aws_iam_role.pawl.arn
  filename         = var.zip
  source_code_hash = try(filebase64sha256(var.zip), null)
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = ["arm64"]
  memory_size      = 256
  timeout          = var.schedule == "" ? 60 : 900

  environment {
    variables = merge(local.pairing, var.environment)
  }

  dynamic "vpc_config" {
    for_each = length(var.subnet_ids) > 0 ? [1] : []
    content {
      subnet_ids         = var.subnet_ids
      security_group_ids = var.security_group_ids
    }
  }

  depends_on = [aws_iam_role_policy.log, aws_iam_role_policy_attachment.vpc]
}

# Secrets Manager of this account may invoke it, and nobody else's.
resource "aws_lambda_permission" "secretsmanager" {
  statement_id   = "secretsmanager"
  function_name  = aws_lambda_function.pawl.function_name
  action         = "lambda:InvokeFunction"
  principal      = "secretsmanager.amazonaws.com"
  source_account = data.aws_caller_identity.here.account_id
}

resource "aws_secretsmanager_secret_rotation" "each" {
  for_each            = var.rotate
  secret_id           = each.value
  rotation_lambda_arn = aws_lambda_function.pawl.arn

  rotation_rules {
    schedule_expression = "rate(30 days)"
  }

  depends_on = [aws_lambda_permission.secretsmanager]
}

resource "aws_cloudwatch_event_rule" "due" {
  count               = var.schedule == "" ? 0 : 1
  name                = var.name
  schedule_expression = var.schedule
}

resource "aws_cloudwatch_event_target" "due" {
  count = var.schedule == "" ? 0 : 1
  rule  = aws_cloudwatch_event_rule.due[0].name
  arn   = aws_lambda_function.pawl.arn
}

resource "aws_lambda_permission" "events" {
  count         = var.schedule == "" ? 0 : 1
  statement_id  = "events"
  function_name = aws_lambda_function.pawl.function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.due[0].arn
}

# An invocation fails when any secret of it did.
resource "aws_cloudwatch_metric_alarm" "failed" {
  alarm_name          = "${var.name}-failed"
  alarm_description   = "A rotation failed: the function's log says which, and what to do."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.pawl.function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
}

output "function_arn" {
  description = "For rotate-secret --rotation-lambda-arn."
  value       = aws_lambda_function.pawl.arn
}
