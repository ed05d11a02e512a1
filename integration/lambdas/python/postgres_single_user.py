"""Rotates the password of a PostgreSQL user, who changes it himself.

A rotation function of the shape that AWS publishes: boto3 against the endpoint
in SECRETS_MANAGER_ENDPOINT, four steps, the labels moved by itself.
"""

import json
import os

import boto3
import pgdb


def lambda_handler(event, context):
    arn, token, step = event["SecretId"], event["ClientRequestToken"], event["Step"]
    client = boto3.client("secretsmanager", endpoint_url=os.environ["SECRETS_MANAGER_ENDPOINT"])
    about = client.describe_secret(SecretId=arn)
    if "RotationEnabled" in about and not about["RotationEnabled"]:
        raise ValueError("Secret %s is not enabled for rotation" % arn)
    stages = about["VersionIdsToStages"].get(token)
    if stages is None:
        raise ValueError("Secret version %s has no stage for rotation of secret %s." % (token, arn))
    if "AWSCURRENT" in stages:
        return
    if "AWSPENDING" not in stages:
        raise ValueError("Secret version %s not set as AWSPENDING for rotation of secret %s." % (token, arn))
    steps = {"createSecret": create, "setSecret": change, "testSecret": test, "finishSecret": finish}
    if step not in steps:
        raise ValueError("Invalid step parameter %s for secret %s" % (step, arn))
    steps[step](client, arn, token)


def value(client, arn, stage, token=None):
    which = {"VersionId": token} if token else {}
    answer = client.get_secret_value(SecretId=arn, VersionStage=stage, **which)
    out = json.loads(answer["SecretString"])
    for key in ("engine", "host", "username", "password"):
        if key not in out:
            raise KeyError("%s key is missing from secret JSON" % key)
    return out


def login(secret):
    try:
        return pgdb.connect(
            host=secret["host"], port=int(secret.get("port", 5432)), database=secret.get("dbname", "postgres"),
            user=secret["username"], password=secret["password"], connect_timeout=5)
    except pgdb.InternalError:
        return None


def create(client, arn, token):
    pending = value(client, arn, "AWSCURRENT")
    try:
        value(client, arn, "AWSPENDING", token)
    except client.exceptions.ResourceNotFoundException:
        made = client.get_random_password(ExcludeCharacters=":/@\"'\\")
        pending["password"] = made["RandomPassword"]
        client.put_secret_value(
            SecretId=arn, ClientRequestToken=token, SecretString=json.dumps(pending), VersionStages=["AWSPENDING"])


def change(client, arn, token):
    pending, current = value(client, arn, "AWSPENDING", token), value(client, arn, "AWSCURRENT")
    connection = login(pending)
    if connection:
        connection.close()
        return
    for key in ("username", "host"):
        if pending[key] != current[key]:
            raise ValueError("The pending %s is not the current one" % key)
    connection = login(current)
    if not connection:
        try:
            connection = login(value(client, arn, "AWSPREVIOUS"))
        except client.exceptions.ResourceNotFoundException:
            pass
    if not connection:
        raise ValueError("Unable to log into database with previous, current, or pending secret of secret arn %s" % arn)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT quote_ident(%s)", (pending["username"],))
        user = cursor.fetchone()[0]
        cursor.execute("ALTER USER " + user + " WITH PASSWORD %s", (pending["password"],))
    connection.close()


def test(client, arn, token):
    connection = login(value(client, arn, "AWSPENDING", token))
    if not connection:
        raise ValueError("Unable to log into database with pending secret of secret ARN %s" % arn)
    with connection.cursor() as cursor:
        cursor.execute("SELECT NOW()")
    connection.close()


def finish(client, arn, token):
    for version, stages in client.describe_secret(SecretId=arn)["VersionIdsToStages"].items():
        if "AWSCURRENT" in stages:
            if version != token:
                client.update_secret_version_stage(
                    SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=token, RemoveFromVersionId=version)
            return
